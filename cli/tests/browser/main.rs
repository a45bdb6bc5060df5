//! The dashboard in a real browser.

mod chromium;
mod server;

use chromium::Browser;
use server::Server;
use std::path::Path;

#[test]
fn look() {
    let dir = Path::new("/tmp/w/runs");
    let server = Server::on(dir);
    let browser = Browser::start();
    browser.open(&server.url);
    browser.wait("runs", "document.querySelectorAll('tbody tr').length > 1");
    browser.screenshot("list");
    let ids: Vec<String> = serde_json::from_value(browser.eval("[...document.querySelectorAll('tbody a')].map((a) => a.textContent)")).unwrap();
    browser.open(&server.run(&ids[1]));
    browser.wait("curves", "document.querySelectorAll('.u-over').length > 3");
    std::thread::sleep(std::time::Duration::from_millis(500));
    browser.screenshot("run");
    println!("{:?}", browser.errors());
    browser.eval("location.hash += '?layer=fc2.weight'");
    browser.wait("layer", "document.querySelectorAll('.layer .u-over').length > 3");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    browser.screenshot("layer");
    browser.open(&server.run(&ids[0]));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    browser.screenshot("sick");
    browser.eval(&format!("location.hash = '#/compare?run={}&run={}'", ids[0], ids[1]));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    browser.screenshot("compare");
    println!("{:?}", browser.errors());
}
