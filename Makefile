# `make demo` and `make test` do all a fresh machine needs besides the Rust toolchain.

.PHONY: help demo data test test-drivers test-python fuzz soak miri deny lint features publish readme bench bench-dashboard ci ci-full vulkan browser

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: vulkan ## Train the main job: an MLP on real images, every gradient of every step observed
	cargo run --release

data: ## Fetch the full Fashion-MNIST and CIFAR-10 into data/full and check them (200 MB)
	sh tools/data.sh data/full

test: vulkan browser ## All tests, on the GPU or on software Vulkan, and of the dashboard in headless Chromium
	cargo test --release --workspace

test-python: ## What the documentation shows of Python, and TensorBoard on our event files; installs them into target/python
	@sh tools/python.sh
	GRADSCOPE_PYTHON="$$PWD/target/python/bin/python" cargo test --release --workspace --test python -- --ignored

test-drivers: vulkan browser ## The GPU tests on llvmpipe and SwiftShader, under the validation layers, with every form of the shaders (15 minutes)
	sh tools/drivers.sh

# Others every time; a case that fails names itself.
FUZZ_FIRST := $(or $(FUZZ_FIRST),$(shell date +%s)000000)

fuzz: vulkan browser ## Tens of millions of bit patterns, shapes and strides, damaged run folders and data files, requests (an hour)
	GRADSCOPE_FUZZ_FIRST=$(FUZZ_FIRST) GRADSCOPE_FUZZ_CASES=3000 cargo test --release --workspace --test suite -- fuzz::
	GRADSCOPE_FUZZ_FIRST=$(FUZZ_FIRST) GRADSCOPE_FUZZ_CASES=100000 cargo test --release --workspace --test damaged --test watch -- --nocapture damaged hostile
	GRADSCOPE_FUZZ_FIRST=$(FUZZ_FIRST) GRADSCOPE_FUZZ_CASES=100000 cargo test --release --workspace --lib --bins -- damaged

soak: vulkan ## 100,000 observed steps: memory, handles and the time of a step stay what they are (twenty minutes)
	cargo bench --workspace --bench soak

miri: ## What runs without a GPU, on Rust's interpreter, which knows undefined behaviour; needs nightly's `miri`
	sh tools/miri.sh

deny: ## Licences, advisories, sources and duplicates of the dependencies; needs `cargo install cargo-deny`
	cargo deny check

lint: ## Formatting, clippy and documentation with warnings denied, also of the layers by themselves
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release -p gradscope-record -p gradscope-store -- -D warnings
	cargo clippy --release -p gradscope --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace --exclude gradscope-cli --features gradscope/cpu,gradscope/parquet

features: ## Every set of features that people build compiles without a warning, and all of them are documented
	cargo clippy --release --workspace --all-targets --all-features -- -D warnings
	for features in "" burn burn,fusion cpu parquet; do \
		cargo clippy --release -p gradscope --lib --no-default-features --features "$$features" -- -D warnings || exit 1; \
	done
	cargo clippy --release -p gradscope-store --features parquet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps -p gradscope --all-features

publish: ## The packages as they would be published, unpacked and built; under 10 MB each
	sh tools/publish.sh

readme: vulkan browser ## Every command of README.md in a fresh clone, as a reader would type it
	sh tools/readme.sh clone

bench: vulkan ## Measure all that BENCHMARKS.md tells, on this machine's adapter, and write its section (an hour and a half)
	sh tools/bench.sh

bench-dashboard: vulkan browser ## The dashboard with 300 tensors x 100,000 steps, and what an open page costs training (7 minutes)
	cargo bench --workspace --bench dashboard

ci: lint test ## What has to pass before anything lands

# Over an hour of it is building on two cores: burn is built four times, since its features and profiles differ.
ci-full: ci features publish readme test-python test-drivers miri deny ## Before a release: all but the long ones, burn without fusion, an embedder's crate (two hours)
	cargo test --release --workspace --no-default-features --features gradscope/cpu
	sh tools/embedder.sh

vulkan:
	@sh tools/vulkan.sh

browser:
	@sh tools/browser.sh
