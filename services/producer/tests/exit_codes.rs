//! Every exit code of the documented table, by a command line that ends with it.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use testkit::{FaultServer, Image, Registry, Reply, Tool};

fn producer(generation: &str) -> Tool {
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation(generation);
    tool.write("hello.txt", "hello world\n");
    tool
}

#[test]
fn code_0_is_done() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let host = registry.host();
    let ran = producer("current")
        .line(&format!("copy {host}/app:latest oci:layout:latest"))
        .expect(0);
    assert!(ran.text().starts_with("sha256:"), "{}", ran.text());
    producer("current").line("--help").expect(0);
    producer("current").line("--version").expect(0);
}

#[test]
fn code_1_is_an_answer_that_is_wrong() {
    let html = || Reply::new(200, &[("Content-Type", "text/html")], "<html>welcome</html>");
    let server = FaultServer::start(move |_| html());
    let ran = producer("current")
        .line(&format!("copy {}/app:latest oci:layout:latest", server.host()))
        .expect(1);
    for part in ["GET", &server.url(), "text/html"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn code_2_is_a_wrong_command_line_and_names_the_text() {
    for (line, part) in [
        ("copy", "DST"),
        ("copy localhost:5001/UPPER localhost:5001/b", "UPPER"),
        ("copy a b --platform nonsense", "nonsense"),
        ("attach hello.txt nonsense misc localhost:5001/a", "nonsense"),
        (
            "attach missing.txt text/plain misc localhost:5001/a",
            "missing.txt",
        ),
        (
            "attach hello.txt text/plain misc localhost:5001/a@sha256:12",
            "sha256:12",
        ),
        (
            "artifact put --refers localhost:5001/a --annotation x",
            "KEY=VALUE",
        ),
        (
            "artifact put --refers localhost:5001/a --manifest-media-type text/plain",
            "text/plain",
        ),
        ("registry set localhost:5001", "--tls"),
        ("registry set --tls maybe localhost:5001", "maybe"),
        ("registry set --tls disabled http://x/", "http://x/"),
        ("nonsense", "nonsense"),
        ("--generation modern copy a b", "modern"),
        (
            "--ca-cert missing.pem copy localhost:1/a localhost:1/b",
            "missing.pem",
        ),
    ] {
        let ran = producer("intermediate").line(line).expect(2);
        assert!(ran.stderr.contains(part), "{line}: {part}: {}", ran.stderr);
    }
}

#[test]
fn code_2_is_a_configuration_file_that_is_wrong_and_names_the_key() {
    let tool = producer("current");
    tool.write(
        "client.json",
        r#"{"registries":{"localhost:5001":{"tsl":"disabled"}}}"#,
    );
    let ran = tool.line("copy localhost:5001/a localhost:5001/b").expect(2);
    assert!(
        ran.stderr.contains("tsl") && ran.stderr.contains("client.json"),
        "{}",
        ran.stderr
    );
}

#[test]
fn code_2_is_a_layout_where_only_a_registry_will_do() {
    for line in [
        "attach hello.txt text/plain misc oci:kept:latest",
        "artifact put --refers ocidir://kept:latest --file hello.txt",
        "delete ./kept",
        "repair oci-archive:kept.tar",
    ] {
        let ran = producer("intermediate").line(line).expect(2);
        assert!(ran.stderr.contains("is an OCI layout"), "{line}: {}", ran.stderr);
    }
}

#[test]
fn code_3_is_not_found() {
    let registry = Registry::current();
    let host = registry.host();
    producer("current")
        .line(&format!("copy {host}/app:latest oci:layout:latest"))
        .expect(3);
}

#[test]
fn code_4_is_unsupported_by_the_generation_or_the_registry() {
    producer("current")
        .line("attach hello.txt text/plain misc localhost:1/app")
        .expect(4);
    let server = FaultServer::start(|_| {
        Reply::new(
            405,
            &[],
            r#"{"errors":[{"code":"UNSUPPORTED","message":"no deletes here"}]}"#,
        )
    });
    let ran = producer("current")
        .line(&format!("delete {}/app:old", server.host()))
        .expect(4);
    assert!(ran.stderr.contains("no deletes here"), "{}", ran.stderr);
}

#[test]
fn code_5_is_refused_by_the_registry() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let host = registry.host();
    let ran = producer("complete")
        .line(&format!(
            "artifact put --refers {host}/app:latest --file hello.txt"
        ))
        .expect(5);
    assert!(ran.stderr.contains("400 MANIFEST_INVALID: "), "{}", ran.stderr);
}

#[test]
fn code_6_is_not_authorised() {
    let server = FaultServer::start(|_| {
        Reply::new(
            401,
            &[("WWW-Authenticate", "Basic realm=\"x\"")],
            r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
        )
    });
    producer("current")
        .line(&format!("copy {}/app:latest oci:layout:latest", server.host()))
        .expect(6);
}

#[test]
fn code_7_is_unreachable() {
    // A port that was free a moment ago, and that nothing listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let ran = producer("current")
        .line(&format!("copy {address}/app:latest oci:layout:latest"))
        .expect(7);
    assert!(ran.stderr.contains(&address.to_string()), "{}", ran.stderr);
    assert!(!ran.stderr.is_empty());
}

#[test]
fn code_8_is_a_conflict_that_other_writers_keep_winning() {
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let server = FaultServer::start(move |request| {
        let headers = [
            ("Content-Type", "application/vnd.oci.image.index.v1+json"),
            ("ETag", "\"as-it-was\""),
        ];
        let path = request.path.as_str();
        match request.method.as_str() {
            _ if path.contains("referrers") => Reply::new(404, &[], ""),
            "PUT" if path.contains("/manifests/sha256-") => Reply::new(412, &[], ""),
            "PUT" => Reply::new(201, &[], ""),
            "HEAD" if path.contains("/blobs/") => Reply::head(200, &[], 12),
            "HEAD" => Reply::head(200, &headers, index.len()),
            _ => Reply::new(200, &headers, index),
        }
    });
    let ran = producer("intermediate")
        .line(&format!(
            "attach hello.txt text/plain misc {}/app:latest",
            server.host()
        ))
        .expect(8);
    for part in [
        "other writers",
        "attempts",
        "left in the registry: manifest sha256:",
        "try again",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(ran.text(), "", "what is not listed is not reported as done");
}

#[test]
fn registry_set_is_kept_and_leads_a_name_elsewhere() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let tool = producer("current");
    let host = registry.host();
    tool.line(&format!(
        "registry set --tls disabled --hostname {host} registry.example"
    ))
    .expect(0);
    tool.line("copy registry.example/app:latest oci:layout:latest")
        .expect(0);
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(tool.config_path()).expect("a file")).expect("JSON");
    assert_eq!(kept["registries"]["registry.example"]["tls"], "disabled");
    assert_eq!(kept["registries"]["registry.example"]["hostname"], host);
}

#[test]
fn quiet_prints_data_alone_and_progress_is_plain_lines_without_a_terminal() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let host = registry.host();
    let tool = producer("current");
    let loud = tool
        .line(&format!("copy {host}/app:latest {host}/one:latest"))
        .expect(0);
    assert!(
        loud.stderr.lines().any(|line| line.starts_with("blob sha256:")),
        "{}",
        loud.stderr
    );
    assert!(
        !loud.stderr.contains('\u{1b}'),
        "no colours, no cursor: {}",
        loud.stderr
    );
    let quiet = tool
        .line(&format!("--quiet copy {host}/app:latest {host}/two:latest"))
        .expect(0);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout, loud.stdout);
}

#[test]
fn a_recording_is_written_without_credentials_even_when_the_command_fails() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let host = registry.host();
    let tool = producer("complete");
    tool.line(&format!(
        "--har out.har artifact put --refers {host}/app:latest --file hello.txt"
    ))
    .expect(5);
    let har: serde_json::Value =
        serde_json::from_slice(&std::fs::read(tool.folder().join("out.har")).expect("a file")).expect("JSON");
    let entries = har["log"]["entries"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| entry["response"]["status"] == 400));
    assert!(entries.iter().all(|entry| entry["comment"] == host));
}

#[test]
fn a_recording_is_written_even_when_nothing_was_sent() {
    let tool = producer("current").env("REFERRERS_LAB_HAR", "out.har");
    for (line, code) in [
        ("registry set --tls disabled localhost:5001", 0),
        ("attach hello.txt text/plain misc localhost:5001/app", 4),
    ] {
        tool.line(line).expect(code);
        let path = tool.folder().join("out.har");
        let har: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        assert_eq!(har["log"]["entries"], serde_json::json!([]), "{line}");
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn completions_and_manual_pages_are_made_from_the_grammar() {
    let tool = producer("current");
    for shell in ["bash", "zsh", "fish"] {
        let script = tool.line(&format!("completions {shell}")).expect(0).text();
        assert!(script.contains("manifest-media-type"), "{shell}");
        if shell == "bash" {
            tool.write("completions.sh", &script);
            let read = std::process::Command::new(shell)
                .args(["-n", "completions.sh"])
                .current_dir(tool.folder())
                .status();
            // Where there is no bash, nobody completes with it.
            assert!(
                read.is_err() || read.is_ok_and(|status| status.success()),
                "bash reads it"
            );
        }
    }
    let page = tool.line("man").expect(0).text();
    assert!(page.contains(".TH") && page.contains("not authorised"), "{page}");
    tool.line("man --output pages").expect(0);
    let attach = std::fs::read_to_string(tool.folder().join("pages/producer-attach.1")).expect("a page");
    assert!(attach.contains("text/plain"), "{attach}");
}

#[test]
fn with_output_json_a_failure_is_one_json_document_on_standard_error() {
    let registry = Registry::current();
    let host = registry.host();
    let envelope = r#"{"errors":[{"code":"DENIED","message":"not today"}]}"#;
    let server = FaultServer::start(move |_| Reply::new(403, &[], envelope));
    let refused = server.host();
    for (line, code, name, answer) in [
        (
            format!("--output json copy {refused}/app:latest oci:layout:latest"),
            6,
            "not-authorised",
            serde_json::json!({"status": 403, "code": "DENIED", "message": "not today"}),
        ),
        (
            format!("copy --output json oci:missing:latest {host}/app:latest"),
            3,
            "not-found",
            serde_json::Value::Null,
        ),
        (
            format!("-q attach missing.txt text/plain misc {host}/app -o json"),
            2,
            "usage",
            serde_json::Value::Null,
        ),
    ] {
        let ran = producer("intermediate").line(&line).expect(code);
        assert_eq!(ran.text(), "", "{line}");
        let told: serde_json::Value = serde_json::from_str(&ran.stderr).expect(&ran.stderr);
        let error = &told["error"];
        assert_eq!(
            (&error["code"], &error["name"]),
            (&code.into(), &name.into()),
            "{line}"
        );
        assert_eq!(error["registry"], answer, "{line}");
        assert!(
            error["message"].as_str().is_some_and(|text| text.len() > 10),
            "{line}"
        );
    }
    // Without it, and for a command line that cannot be read, it is a text.
    let ran = producer("intermediate")
        .line("copy oci:missing:latest oci:other:latest")
        .expect(3);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
}
