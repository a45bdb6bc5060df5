//! Requests that nobody's browser makes.

use crate::http::{get, resident_bytes, status};
use crate::server::Server;
use crate::training::Training;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// `GRADSCOPE_FUZZ_CASES` says how many, `GRADSCOPE_FUZZ_FIRST` which comes first.
const CASE_COUNT: u64 = 2000;

fn request(random: &mut fastrand::Rng, port: u16, id: &str) -> Vec<u8> {
    let parts = [
        "/",
        "/api/runs",
        "/api/watch",
        "/api/histograms",
        "/api/sign-map",
        "..",
        "%2e%2e",
        "%00",
        "%",
        "%zz",
        "?run=",
        "&run=",
        "&tensor=",
        "first.weight",
        "&figure=",
        "l2_norm",
        "#",
        "\\",
        "//",
        "%0d%0aSet-Cookie: a=b",
        "é",
        "?",
        "&",
        "=",
        "*",
    ];
    let mut path = String::from(if random.bool() { "/" } else { "" });
    for _ in 0..random.usize(0..8) {
        path += if random.u8(..) < 40 { id } else { parts[random.usize(..parts.len())] };
    }
    let method = ["GET", "HEAD", "POST", "get", "GET\t", "PRI", "CONNECT", "", "G\0T"][random.usize(..9)];
    let version = ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""][random.usize(..5)];
    let host =
        [format!("127.0.0.1:{port}"), "evil".into(), String::new(), "127.0.0.1".into()][random.usize(..4)].clone();
    let long = "a".repeat(random.usize(0..20_000));
    let extra = [
        String::new(),
        "Content-Length: -1\r\n".into(),
        "Content-Length: 99999999999999999999\r\n".into(),
        "Transfer-Encoding: chunked\r\n".into(),
        format!("X: {long}\r\n"),
        "X: 1\r\n".repeat(random.usize(0..300)),
        "Host: other\r\n".into(),
        "Cookie: gradscope=1; =;;\r\n".into(),
        "Upgrade: h2c\r\nConnection: upgrade\r\n".into(),
        "X: a\r\n b\r\n".into(),
    ][random.usize(..10)]
    .clone();
    let end = ["\r\n", "\n", "", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", "\r\n5\r\nhello\r\n"][random.usize(..5)];
    let mut bytes = format!("{method} {path} {version}\r\nHost: {host}\r\n{extra}{end}").into_bytes();
    for _ in 0..random.usize(0..3) {
        let place = random.usize(..bytes.len());
        bytes[place] = random.u8(..);
    }
    if random.u8(..) < 20 {
        bytes = (0..random.usize(0..4000)).map(|_| random.u8(..)).collect();
    }
    bytes
}

#[test]
fn whatever_is_asked_the_page_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = Training::whole(&dir.path().join("tiny"), 20, 1e-2);
    let server = Server::on(dir.path());
    let id = format!("tiny%2F{}", run.file_name().unwrap().to_str().unwrap());
    let asked = |name: &str| std::env::var(name).ok().map(|number| number.parse::<u64>().expect("a number"));
    let first = asked("GRADSCOPE_FUZZ_FIRST").unwrap_or(0);
    let count = asked("GRADSCOPE_FUZZ_CASES").unwrap_or(CASE_COUNT);
    let sound = || status(&get(server.port, &format!("/api/histograms?run={id}&tensor=first.weight"))) == 200;
    assert!(sound());
    let before = resident_bytes(server.id());
    for case in first..first + count {
        let mut random = fastrand::Rng::with_seed(case);
        let bytes = request(&mut random, server.port, &id);
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // What is refused early may be closed early.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = [0; 4096];
        let len = stream.read(&mut answer).unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..len]);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "case {case}: {answer}");
        let headers = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        assert!(!headers.contains("set-cookie"), "case {case}: {answer}");
        if case % 200 == 0 {
            assert!(sound(), "after case {case}");
        }
    }
    assert!(sound());
    let after = resident_bytes(server.id());
    println!("server before {count} requests: {} MiB, after: {} MiB", before >> 20, after >> 20);
    assert!(after < before + (32 << 20), "{before} to {after} bytes");
}

#[test]
fn requests_that_never_end_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path());
    let mut slow: Vec<TcpStream> = (0..120).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    for byte in b"GET /api/runs HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaa" {
        slow.iter_mut().for_each(|stream| stream.write_all(&[*byte]).unwrap());
        if byte % 7 == 0 {
            assert_eq!(status(&get(server.port, "/api/runs")), 200);
        }
    }
    assert_eq!(status(&get(server.port, "/")), 200);
}
