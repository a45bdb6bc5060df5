//! What the server says to whom, without a browser in between.

use crate::made_up::{made_up, made_up_record};
use crate::server::Server;
use crate::training::Training;
use gradscope::store::{RunPlace, RunWriter};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sends a request as it is, and reads all of the answer.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn get(port: u16, path: &str) -> String {
    get_as(port, path, &format!("Host: 127.0.0.1:{port}"))
}

pub fn get_as(port: u16, path: &str, headers: &str) -> String {
    raw(port, &format!("GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"))
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in `{answer}`"))
}

#[test]
fn it_answers_this_machine_alone_and_its_own_page_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path());
    let port = server.port;
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("LocalHost:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(status(&get_as(port, "/", &format!("Host: {host}"))), 200, "{host}");
    }
    let others = ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1.evil.example", ""];
    for host in others {
        let answer = get_as(port, "/api/runs", &format!("Host: {host}"));
        assert_eq!(status(&answer), 403, "`{host}`: {answer}");
    }
    assert_eq!(status(&get_as(port, &format!("http://evil.example:{port}/"), "Host: evil.example")), 403);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = raw(
            port,
            &format!(
                "{method} /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        );
        assert_eq!(status(&answer), 405, "{method}");
    }
    for path in ["/", "/api/runs", "/nothing", "/uplot.js"] {
        let answer = get(port, path).to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
        assert!(!answer.contains("access-control-allow"), "{path}");
    }
    // No asset, and nothing in one, comes from elsewhere.
    for path in ["/", "/main.js", "/style.css", "/chart.js"] {
        let answer = get(port, path);
        assert!(status(&answer) == 200 && !answer.contains("//cdn") && !answer.contains("https://"), "{path}");
    }
    #[cfg(target_os = "linux")]
    {
        let listening = |file: &str| {
            let lines = fs::read_to_string(file).unwrap_or_default();
            let suffix = format!(":{port:04X}");
            let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            lines
                .lines()
                .filter(|line| line.contains(" 0A "))
                .filter_map(local)
                .filter(|at| at.ends_with(&suffix))
                .collect::<Vec<_>>()
        };
        assert_eq!(listening("/proc/net/tcp"), [format!("0100007F:{port:04X}")]);
        assert!(listening("/proc/net/tcp6").is_empty());
    }
}

#[test]
fn nothing_outside_of_the_folder_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("runs"), dir.path().join("secret"));
    let run = Training::whole(&inside.join("tiny"), 5, 1e-2);
    let secret = Training::whole(&outside, 5, 1e-2);
    fs::write(inside.join("notes.txt"), "SECRET").unwrap();
    let lured = Training::whole(&inside.join("lured"), 5, 1e-2);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, inside.join("link")).unwrap();
        fs::write(outside.join("findings.jsonl"), "SECRET").unwrap();
        std::os::unix::fs::symlink(outside.join("findings.jsonl"), lured.join("findings.jsonl")).unwrap();
        // One from here to here is harmless, and names no second run.
        std::os::unix::fs::symlink(&run, inside.join("latest")).unwrap();
    }
    let server = Server::on(&inside);
    let secret_name = secret.file_name().unwrap().to_str().unwrap();
    let asked = [
        format!("../secret/{secret_name}"),
        format!("tiny/../../secret/{secret_name}"),
        secret.to_str().unwrap().to_owned(),
        "link".into(),
        format!("lured/{}", lured.file_name().unwrap().to_str().unwrap()),
        "../../../../../../etc".into(),
        "notes.txt".into(),
        "tiny".into(),
        String::new(),
        format!("tiny/{}\0", run.file_name().unwrap().to_str().unwrap()),
    ];
    for id in asked {
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in ["watch", "histograms", "sign-map"] {
            let answer = get(server.port, &format!("/api/{path}?run={encoded}&tensor=first.weight"));
            assert_eq!(status(&answer), 404, "{path} of {id}: {answer}");
            assert!(!answer.contains("SECRET") && !answer.contains("root:"), "{answer}");
        }
    }
    for path in [
        "/../notes.txt",
        "/notes.txt",
        "/%2e%2e/notes.txt",
        "/..%2fnotes.txt",
        "//etc/passwd",
        "/tiny/",
        "/./../../etc/passwd",
    ] {
        let answer = get(server.port, path);
        assert!(
            matches!(status(&answer), 400 | 404) && !answer.contains("SECRET") && !answer.contains("root:"),
            "{path}: {answer}"
        );
    }
    let listed = get(server.port, "/api/runs");
    assert!(listed.contains("tiny/") && !listed.contains("secret") && !listed.contains("\"link"), "{listed}");
    assert_eq!(listed.matches("\"id\":").count(), 2, "{listed}");
    #[cfg(unix)]
    assert!(listed.contains("it is a link out of the folder"), "{listed}");
}

#[test]
fn one_run_is_watched_by_its_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    let run = Training::whole(dir.path(), 20, 1e-2);
    let server = Server::on(&run);
    let name = run.file_name().unwrap().to_str().unwrap();
    assert!(get(server.port, "/api/runs").contains(&format!("{{\"id\":\"{name}\"")));
    let read = get(server.port, &format!("/api/histograms?run={name}&tensor=first.weight"));
    assert!(status(&read) == 200 && read.contains("edges"), "{read}");
    assert_eq!(status(&get(server.port, &format!("/api/histograms?run={name}&tensor=nothing"))), 404);
}

#[test]
fn training_serves_its_own_page_and_ends_with_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gradscope"))
        .args(["train", "--watch", "--port", "0", "--json", "--steps", "40", "--device", "cpu"])
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let start: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let url = start["url"].as_str().unwrap();
    let (host, run) = url.strip_prefix("http://").unwrap().split_once("/#/run/").unwrap();
    let port = host.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(get(port, "/api/runs").contains(&format!("{{\"id\":\"{run}\"")), "{url}");
    assert_eq!(lines.count(), 42, "40 steps, a test and the end");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The page is a process of its own, so that what viewers hold is not the training process's memory.
#[cfg(target_os = "linux")]
#[test]
fn the_page_of_training_is_another_process_and_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = Command::new(env!("CARGO_BIN_EXE_gradscope"))
        .args(["train", "--watch", "--port", "0", "--json", "--epochs", "1000", "--device", "cpu"])
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(training.stdout.take().unwrap()).lines();
    let start: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let host = start["url"].as_str().unwrap().strip_prefix("http://").unwrap().split('/').next().unwrap();
    assert_eq!(status(&get(host.rsplit_once(':').unwrap().1.parse().unwrap(), "/api/runs")), 200);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", training.id())).unwrap().flatten();
    let names: Vec<String> = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap()).collect();
    assert!(names.len() > 1 && !names.iter().any(|name| name.starts_with("gradscope watch")), "{names:?}");
    training.kill().unwrap();
    training.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(host).is_ok() {
        assert!(Instant::now() < until, "the page outlives training that was killed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn others_need_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--host", "0.0.0.0", "--port", "0"]);
    let port = server.port;
    let token = server.query.split_once("token=").expect("the URL has a token").1;
    assert_eq!(token.len(), 32);
    for path in
        ["/", "/api/runs", "/?token=", "/?token=0123", &format!("/?token={}x", token), &format!("/?tokens={token}")]
    {
        assert_eq!(status(&get(port, path)), 403, "{path}");
    }
    let answer = get(port, &format!("/?token={token}"));
    assert_eq!(status(&answer), 303);
    let cookie =
        answer.lines().find_map(|line| line.to_lowercase().strip_prefix("set-cookie: ").map(str::to_owned)).unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(status(&get_as(port, "/api/runs", &format!("Host: a.example\r\nCookie: other=1; {cookie}"))), 200);
    assert_eq!(status(&get_as(port, "/api/runs", &format!("Host: a.example\r\nCookie: {cookie}0"))), 403);
}

#[test]
fn a_hundred_pages_and_one_that_never_reads_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let training = Training::live(&dir.path().join("tiny"));
    let server = Server::on(dir.path());
    let id = format!("tiny%2F{}", training.folder.file_name().unwrap().to_str().unwrap());
    let ask = |tensor: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request =
            format!("GET /api/watch?run={id}&tensor={tensor} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", server.port);
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    // The next event that tells of a step past `past`.
    let next = |reader: &mut BufReader<TcpStream>, past: u64| -> u64 {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let news: serde_json::Value = serde_json::from_str(data).unwrap();
            let last = news[0]["spans"]["steps"].as_array().unwrap().last().and_then(|span| span[1].as_u64());
            if let Some(last) = last.filter(|last| *last > past) {
                return last;
            }
        }
        panic!("no step past {past} came");
    };
    let mut first = BufReader::new(ask("first.weight"));
    let seen = next(&mut first, 0);
    let before = resident_bytes(server.id());
    let silent: Vec<TcpStream> = (0..10).map(|_| ask("first.weight")).collect();
    let mut pages: Vec<BufReader<TcpStream>> = (0..100).map(|_| BufReader::new(ask("middle.weight"))).collect();
    for page in &mut pages {
        let seen = next(page, seen);
        assert!(next(page, seen) > seen);
    }
    // Ten more rounds, in which the silent ones take nothing.
    let mut seen = seen;
    for _ in 0..10 {
        seen = next(&mut first, seen);
        pages.iter_mut().for_each(|page| seen = seen.max(next(page, 0)));
    }
    let after = resident_bytes(server.id());
    println!("server with 1 page: {} MiB, with 111: {} MiB", before >> 20, after >> 20);
    assert!(after < before + (48 << 20), "{before} to {after} bytes");
    drop(silent);
}

#[test]
fn nothing_is_queued_for_pages_that_never_read() {
    const TENSOR_COUNT: usize = 1500;
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<String> = (0..TENSOR_COUNT).map(|place| format!("layers.{place}.weight")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let start = made_up(&paths, "none");
    let mut writer = RunWriter::open(&RunPlace::New(dir.path().join("wide")), start).unwrap();
    writer.write(&made_up_record(0, TENSOR_COUNT));
    assert!(writer.sync());
    let server = Server::on(dir.path());
    let id = format!("wide%2F{}", writer.folder().file_name().unwrap().to_str().unwrap());
    let silent: Vec<socket2::Socket> = (0..30)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            // The system is not to keep for them what the server does not.
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], server.port)).into()).unwrap();
            let request = format!("GET /api/watch?run={id} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", server.port);
            assert_eq!(socket.send(request.as_bytes()).unwrap(), request.len());
            socket
        })
        .collect();
    let mut step = 0;
    let mut grow = |count: u64| {
        for _ in 0..count {
            step += 1;
            writer.write(&made_up_record(step, TENSOR_COUNT));
            assert!(writer.sync());
            std::thread::sleep(Duration::from_millis(40));
        }
    };
    grow(50);
    let before = resident_bytes(server.id());
    grow(150);
    let after = resident_bytes(server.id());
    // Spans for the run itself, and nothing for thirty pages that were to be told some 15 KB a step each, twice.
    let spans = 150 * TENSOR_COUNT as u64 * 10 * 12;
    println!(
        "with 30 silent pages: {} MiB after 50 steps, {} MiB after 200, {} of it spans",
        before >> 20,
        after >> 20,
        spans >> 20
    );
    assert!(after < before + 2 * spans + (16 << 20), "{before} to {after} bytes");
    drop(silent);
}

/// What a process holds in memory; 0 where the system does not tell.
pub fn resident_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
