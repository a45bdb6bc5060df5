# `make demo` and `make test` do all a fresh machine needs besides the Rust toolchain.

.PHONY: help demo test test-python fuzz lint bench bench-dashboard ci ci-full vulkan browser

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: vulkan ## Train the main job: an MLP on real images, every gradient of every step observed
	cargo run --release

test: vulkan browser ## All tests, on the GPU or on software Vulkan, and of the dashboard in headless Chromium
	cargo test --release --workspace

test-python: ## What the documentation shows of Python, and TensorBoard on our event files; installs them into target/python
	@sh tools/python.sh
	GRADSCOPE_PYTHON="$$PWD/target/python/bin/python" cargo test --release --workspace --test python -- --ignored

fuzz: browser ## A hundred thousand damaged run folders and requests (forty minutes); make test has the first 1,500 and 2,000
	GRADSCOPE_FUZZ_CASES=100000 cargo test --release --workspace --test damaged --test watch -- --nocapture damaged hostile

lint: ## Formatting, clippy and documentation with warnings denied, also of what views need without the engine
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release -p gradscope --lib --no-default-features --features store -- -D warnings
	cargo clippy --release -p gradscope --lib --no-default-features --features parquet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps -p gradscope

bench: vulkan ## The reductions on this machine's adapter
	cargo bench --bench grad_reduce

bench-dashboard: vulkan browser ## The dashboard with 300 tensors x 100,000 steps, and what an open page costs training (7 minutes)
	cargo bench --workspace --bench dashboard

ci: lint test ## What has to pass before anything lands

# 60 to 80 minutes on two cores: burn is built three times, since its features differ.
ci-full: ci test-python ## All of ci, the Python tests, burn without fusion, and an embedder's crate with burn's own defaults (over an hour)
	cargo test --release --workspace --no-default-features --features gradscope/cpu,gradscope/store
	cargo run --release --manifest-path tests/embedder/Cargo.toml
	@sh tools/second-driver.sh

vulkan:
	@sh tools/vulkan.sh

browser:
	@sh tools/browser.sh
