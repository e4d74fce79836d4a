//! OCI distribution-spec, "Content Discovery", "Listing Tags": a test for each MUST and SHOULD that concerns a registry.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::headers::next_link;
use serde_json::json;
use testkit::Registry;

/// A registry's repository `a` with these tags on one image.
fn tagged(registry: &Registry, tags: &[&str]) {
    let image = registry.push_image("a", "", b"layer");
    for tag in tags {
        registry
            .put_manifest("a", tag, &image.media_type, &image.body)
            .expect(201);
    }
}

#[test]
fn the_list_of_a_repository_must_be_200_with_its_name_and_tags_in_order() {
    Registry::each(|registry| {
        tagged(registry, &["v2", "v1", "V1", "_", "10", "9", "a.b", "a-b"]);
        let answer = registry.get("/v2/a/tags/list").expect(200);
        assert_eq!(
            answer.json(),
            json!({"name": "a", "tags": ["10", "9", "V1", "_", "a-b", "a.b", "v1", "v2"]})
        );
    });
}

#[test]
fn the_list_may_be_empty_and_is_then_an_empty_list() {
    Registry::each(|registry| {
        tagged(registry, &[]);
        assert_eq!(
            registry.get("/v2/a/tags/list").expect(200).json(),
            json!({"name": "a", "tags": []})
        );
    });
}

#[test]
fn a_repository_that_does_not_exist_must_be_404() {
    Registry::each(|registry| {
        assert_eq!(
            registry.get("/v2/nowhere/tags/list").expect(404).error_code(),
            "NAME_UNKNOWN"
        );
    });
}

#[test]
fn n_must_give_as_many_tags_unless_fewer_are_left() {
    Registry::each(|registry| {
        tagged(registry, &["a", "b", "c"]);
        for (n, tags) in [
            (1, json!(["a"])),
            (2, json!(["a", "b"])),
            (3, json!(["a", "b", "c"])),
            (99, json!(["a", "b", "c"])),
        ] {
            assert_eq!(
                registry.get(&format!("/v2/a/tags/list?n={n}")).expect(200).json()["tags"],
                tags,
                "n={n}"
            );
        }
    });
}

#[test]
fn n_of_zero_must_give_an_empty_list_and_must_not_have_a_link() {
    Registry::each(|registry| {
        tagged(registry, &["a"]);
        let answer = registry.get("/v2/a/tags/list?n=0").expect(200);
        assert_eq!(
            (answer.json()["tags"].clone(), answer.header("link")),
            (json!([]), None)
        );
    });
}

#[test]
fn the_link_must_have_the_relation_next_and_lead_through_every_tag_once() {
    Registry::each(|registry| {
        let tags: Vec<String> = (0..23).map(|n| format!("t{n:02}")).collect();
        tagged(registry, &tags.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut found, mut pages) = (Vec::new(), 0);
        let mut next = Some("/v2/a/tags/list?n=5".to_owned());
        while let Some(path) = next {
            let page = registry.get(&path).expect(200);
            found.extend(
                page.json()["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t.as_str().unwrap().to_owned()),
            );
            pages += 1;
            next = page
                .header("link")
                .map(|link| next_link(link).expect("rel=next").to_owned());
        }
        assert_eq!((found, pages), (tags, 5));
    });
}

#[test]
fn last_is_not_included_and_need_not_exist() {
    Registry::each(|registry| {
        tagged(registry, &["a", "b", "d"]);
        for (query, tags) in [
            ("last=a", json!(["b", "d"])),
            ("last=c", json!(["d"])),
            ("last=d", json!([])),
            ("last=zz", json!([])),
            ("n=1&last=a", json!(["b"])),
            ("n=5&last=b", json!(["d"])),
        ] {
            assert_eq!(
                registry
                    .get(&format!("/v2/a/tags/list?{query}"))
                    .expect(200)
                    .json()["tags"],
                tags,
                "{query}"
            );
        }
    });
}

#[test]
fn an_n_that_is_no_number_is_400() {
    Registry::each(|registry| {
        tagged(registry, &["a"]);
        for n in ["-1", "x", "1.5", "", "99999999999999999999999"] {
            let answer = registry.get(&format!("/v2/a/tags/list?n={n}")).expect(400);
            assert_eq!(answer.error_code(), "PAGINATION_NUMBER_INVALID", "n={n}");
        }
    });
}

#[test]
fn the_catalog_lists_repositories_in_order_and_in_pages() {
    Registry::each(|registry| {
        for name in ["b", "a/b", "a"] {
            registry.push_image(name, "v1", b"layer");
        }
        assert_eq!(
            registry.get("/v2/_catalog").expect(200).json(),
            json!({"repositories": ["a", "a/b", "b"]})
        );
        let page = registry.get("/v2/_catalog?n=2").expect(200);
        assert_eq!(page.json(), json!({"repositories": ["a", "a/b"]}));
        let rest = registry
            .get(next_link(page.header("link").unwrap()).unwrap())
            .expect(200);
        assert_eq!(
            (rest.json(), rest.header("link")),
            (json!({"repositories": ["b"]}), None)
        );
        for (query, names) in [
            ("last=a", json!(["a/b", "b"])),
            ("last=aa", json!(["b"])),
            ("n=1&last=a", json!(["a/b"])),
            ("n=0", json!([])),
        ] {
            let page = registry.get(&format!("/v2/_catalog?{query}")).expect(200);
            assert_eq!(page.json(), json!({"repositories": names}), "{query}");
        }
        registry.get("/v2/_catalog?n=x").expect(400);
    });
}

#[test]
fn a_tag_that_moved_is_seen_at_once() {
    Registry::each(|registry| {
        let (first, second) = (
            registry.push_image("a", "v1", b"one"),
            registry.push_image("a", "v1", b"two"),
        );
        assert_ne!(first.digest, second.digest);
        assert_eq!(registry.get("/v2/a/manifests/v1").expect(200).body, second.body);
        assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!(["v1"]));
    });
}
