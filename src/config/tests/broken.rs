//! Broken files: what a stranger is told about them.

use super::*;

/// What a user sees.
fn told(text: &str) -> String {
    shown(text, &parse(&source(text)).1)
}

/// One line for each problem.
fn problems(text: &str) -> String {
    let line = |problem: &Diagnostic| {
        let mut line = format!("{}: {}", problem.path, problem.message);
        for more in problem.label.iter().chain(&problem.help) {
            line.extend([" [", more, "]"]);
        }
        line
    };
    parse(&source(text)).1.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn many_problems_are_shown_at_once() {
    insta::assert_snapshot!(told(r#"
[server]
listen = "4000"
max_bodi = "32MiB"
fetch_images_from = ["http://x"]

[defaults]
deadlin = "10m"
breaker = { failures = 0, error_rate = 2, windwos = "3s" }

[chains.primary-chat]
deadline = 30
commit = { chars = "many" }
targets = [
  "gpt-4o",
  { model = "anthropic/claude-sonnet-4-5", max_cost = -1, deadline = "4s" },
  { max_price_ratio = 1.5 },
]
"#), @r#"
        error: expected an address and port such as "127.0.0.1:4000", found "4000"
         --> piton.toml:3:10
          |
        3 | listen = "4000"
          |          ^^^^^^
          |
          = note: at server.listen
          = help: the port is missing

        error: unknown key `max_bodi` in [server]
         --> piton.toml:4:1
          |
        4 | max_bodi = "32MiB"
          | ^^^^^^^^ did you mean `max_body`?
          |
          = note: at server.max_bodi

        error: expected a host such as "images.internal" or "10.0.0.7", found "http://x"
         --> piton.toml:5:22
          |
        5 | fetch_images_from = ["http://x"]
          |                      ^^^^^^^^^^
          |
          = note: at server.fetch_images_from[0]
          = help: without a scheme, a port or a path

        error: unknown key `deadlin` in [defaults]
         --> piton.toml:8:1
          |
        8 | deadlin = "10m"
          | ^^^^^^^ did you mean `deadline`?
          |
          = note: at defaults.deadlin

        error: expected a whole number, 1 or more
         --> piton.toml:9:24
          |
        9 | breaker = { failures = 0, error_rate = 2, windwos = "3s" }
          |                        ^
          |
          = note: at defaults.breaker.failures

        error: expected a share above 0, 1 at most (0.5 is every second one)
         --> piton.toml:9:40
          |
        9 | breaker = { failures = 0, error_rate = 2, windwos = "3s" }
          |                                        ^
          |
          = note: at defaults.breaker.error_rate

        error: unknown key `windwos` in `breaker`
         --> piton.toml:9:43
          |
        9 | breaker = { failures = 0, error_rate = 2, windwos = "3s" }
          |                                           ^^^^^^^ did you mean `window`?
          |
          = note: at defaults.breaker.windwos

        error: expected a duration such as "30s", found a whole number
          --> piton.toml:12:12
           |
        12 | deadline = 30
           |            ^^ this is a whole number
           |
           = note: at chains.primary-chat.deadline

        error: expected a whole number, 1 or more, found a string
          --> piton.toml:13:20
           |
        13 | commit = { chars = "many" }
           |                    ^^^^^^ this is a string
           |
           = note: at chains.primary-chat.commit.chars

        error: "gpt-4o" does not say which provider serves it
          --> piton.toml:15:3
           |
        15 |   "gpt-4o",
           |   ^^^^^^^^
           |
           = note: at chains.primary-chat.targets[0]
           = help: write it as provider/model, for example "openai/gpt-4o"

        error: expected an amount of USD, 0 or more
          --> piton.toml:16:55
           |
        16 |   { model = "anthropic/claude-sonnet-4-5", max_cost = -1, deadline = "4s" },
           |                                                       ^^
           |
           = note: at chains.primary-chat.targets[1].max_cost

        error: unknown key `deadline` in a target
          --> piton.toml:16:59
           |
        16 |   { model = "anthropic/claude-sonnet-4-5", max_cost = -1, deadline = "4s" },
           |                                                           ^^^^^^^^ does not belong here
           |
           = note: at chains.primary-chat.targets[1].deadline
           = help: `deadline` belongs in [defaults] or a chain

        error: `model` is missing
          --> piton.toml:17:3
           |
        17 |   { max_price_ratio = 1.5 },
           |   ^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = note: at chains.primary-chat.targets[2]
        "#);
}

#[test]
fn a_fault_of_toml_itself_is_the_only_news() {
    insta::assert_snapshot!(told("[server]\nlisten = 127.0.0.1:4000\nmax_body = 3\n[providers.a]\napi_key = hunter2\n"), @r"
        error: not valid TOML: invalid float
         --> piton.toml:2:15
          |
        2 | listen = 127.0.0.1:4000
          |               ^^^^^^^^^
          |
          = help: text stands in quotes, and so do durations, sizes and addresses

        error: not valid TOML: string values must be quoted, expected literal string
         --> piton.toml:5:11
          |
        5 | api_key =********
          |           ^^^^^^^
          |
          = help: text stands in quotes, and so do durations, sizes and addresses
        ");
    insta::assert_snapshot!(told("[chains]\na = [\"x/y\"]\na = [\"x/z\"]\n"), @r#"
        error: not valid TOML: duplicate key
         --> piton.toml:3:1
          |
        3 | a = ["x/z"]
          | ^
        "#);
    insta::assert_snapshot!(told("[chains]\na = [\"x/y\"\n"), @r#"
        error: not valid TOML: unclosed array, expected `]`
         --> piton.toml:2:11
          |
        2 | a = ["x/y"
          |           ^
        "#);
}

#[test]
fn what_comes_later_is_refused_by_name() {
    insta::assert_snapshot!(problems(r#"
[server]
[defaults]
mode = "race"
on_break = "continue"
on = { refusal = "fallback", schema_violation = "retry", low_quality = "stop" }
[providers.a]
kind = "openai"
[[keys]]
name = "a"
secret = "env:A"
[chains.c]
mode = "hedged"
targets = [{ model = "a/b", adapt = { drop = ["seed"] } }]
[cache]
"#), @r#"
        defaults.mode: "race" is not supported by this version
        defaults.on_break: "continue" is not supported by this version
        defaults.on.refusal: the class `refusal` is not supported by this version
        defaults.on.schema_violation: the class `schema_violation` is not supported by this version
        defaults.on.low_quality: the class `low_quality` is not supported by this version
        chains.c.mode: "hedged" is not supported by this version
        chains.c.targets[0].adapt: `adapt` is not supported by this version
        cache: `cache` is not supported by this version
        "#);
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(problems(r#"
server = 3
keys = { name = "a" }
chains = ["openai/gpt-4o"]
[providers]
a = "openai"
b = { kind = 3, headers = "x", price_factor = "2", breaker = true, base_url = [] }
[models."a/b"]
price = 3
context = 8192.5
max_output = -1
capabilities = { tools = "yes" }
"#), @r#"
        server: expected a table, found a whole number [this is a whole number]
        keys: expected a list, found a table [this is a table]
        chains: expected a table, found a list [this is a list]
        providers.a: expected a table, found a string [this is a string]
        providers.b.kind: expected a wire format or a vendor such as "openai", found a whole number [this is a whole number]
        providers.b.headers: expected a table, found a string [this is a string]
        providers.b.price_factor: expected a factor such as 1.5, found a string [this is a string]
        providers.b.breaker: expected false or a table such as { failures = 5 }, found `true` [this is `true`]
        providers.b.base_url: expected a URL such as "http://127.0.0.1:11434/v1", found a list [this is a list]
        models."a/b".price: expected a table, found a whole number [this is a whole number]
        models."a/b".context: expected a whole number, 1 or more, found a number [this is a number]
        models."a/b".max_output: expected a whole number, 1 or more
        models."a/b".capabilities.tools: expected true or false, found a string [this is a string]
        "#);
    insta::assert_snapshot!(problems(r#"
[server]
listen = 4000
admin_key = 17
max_in_flight = 99999999999
allow_direct = "x"
allow_anonymous = 1
drain = 1979-05-27
[chains]
a = "openai/gpt-4o"
b = []
c = {}
d = { targets = "openai/gpt-4o" }
e = { targets = [] }
f = [1, ["a/b"]]
"#), @r#"
        server.listen: expected an address and port such as "127.0.0.1:4000", found a whole number [this is a whole number]
        server.admin_key: expected a secret such as "env:OPENAI_API_KEY" or "file:/run/secrets/openai", found a whole number [this is a whole number]
        server.max_in_flight: this number is out of range
        server.allow_direct: expected a list, found a string [this is a string]
        server.allow_anonymous: expected true or false, found a whole number [this is a whole number]
        server.drain: expected a duration such as "3s", found a date or time [this is a date or time]
        chains.a: expected a list of targets such as ["openai/gpt-4o"], or a table, found a string [this is a string]
        chains.b: a chain needs at least one target
        chains.c: `targets` is missing
        chains.d.targets: expected a list of targets such as ["openai/gpt-4o"], found a string [this is a string]
        chains.e.targets: a chain needs at least one target
        chains.f[0]: expected "provider/model", or a table with `model`, found a whole number [this is a whole number]
        chains.f[1]: expected "provider/model", or a table with `model`, found a list [this is a list]
        "#);
}

#[test]
fn wrong_values() {
    insta::assert_snapshot!(problems(r#"
[defaults]
mode = "sequentia"
commit = "first content"
retries = -1
max_attempts = 0
connect_timeout = "0s"
idle_timeout = "30"
max_cost = inf
max_price = { input = -2, output = 1e9 }
on = { empty = "retry + fallback", server_error = "accept", deadline_exceeded = "retry", emty = "stop", weird = "stop" }
[providers."open ai"]
[providers.a]
kind = "no such/kind"
base_url = "localhost:80"
headers = { "x y" = "1", Host = "h", x-empty = "" }
patterns = { context_length = ["("], nope = ["x"] }
price_factor = 0
[models."gpt-4o"]
like = "gpt-4o"
[[keys]]
name = "a"
secret = "sha256:zz"
chains = ["[a"]
[[keys]]
[chains."a/b"]
targets = ["x/y"]
"#), @r#"
        defaults.mode: expected "sequential", found "sequentia" [did you mean "sequential"?]
        defaults.commit: expected "first_content", "complete", { chars = 200 } or { time = "800ms" }, found "first content" [did you mean "first_content"?]
        defaults.retries: expected a whole number, 0 or more
        defaults.max_attempts: expected a whole number, 1 or more
        defaults.connect_timeout: a time limit of zero would let nothing through
        defaults.idle_timeout: "30" has no unit [write "30s" for seconds or "30ms" for milliseconds]
        defaults.max_cost: this number is out of range
        defaults.max_price.input: expected a price of 0 to a million USD per million tokens
        defaults.max_price.output: expected a price of 0 to a million USD per million tokens
        defaults.on.empty: expected "accept", "stop", "fallback", "retry" or "retry+fallback", found "retry + fallback" [did you mean "retry+fallback"?]
        defaults.on.server_error: there is no answer to accept: server_error leaves none (only `empty` does)
        defaults.on.deadline_exceeded: no time is left after `deadline_exceeded`: it always stops
        defaults.on.emty: `emty` is not a class of failure [did you mean `empty`?]
        defaults.on.weird: `weird` is not a class of failure [the classes are rate_limited, quota_exhausted, overloaded, server_error, connect_failed, connection_lost, first_token_timeout, idle_timeout, stream_timeout, answer_timeout, deadline_exceeded, truncated, malformed, empty, auth_failed, model_not_found, context_length, too_large, content_filter, invalid_request]
        providers."open ai": "open ai" is not a provider's name [a name is made of letters, digits, `.`, `_` and `-`]
        providers.a.kind: "no such/kind" is not a kind [a name is made of letters, digits, `.`, `_` and `-`]
        providers.a.base_url: expected a URL such as "http://127.0.0.1:11434/v1", found "localhost:80" [it starts with http:// or https://]
        providers.a.headers."x y": "x y" is no name of an HTTP header
        providers.a.headers.Host: Piton sets `host` itself
        providers.a.headers.x-empty: an empty secret [write "env:NAME" for an environment variable or "file:PATH" for a file]
        providers.a.patterns.context_length[0]: not a regular expression: unclosed group
        providers.a.patterns.nope: `nope` is not a class of failure [the classes are rate_limited, quota_exhausted, overloaded, server_error, connect_failed, connection_lost, first_token_timeout, idle_timeout, stream_timeout, answer_timeout, deadline_exceeded, truncated, malformed, empty, auth_failed, model_not_found, context_length, too_large, content_filter, invalid_request]
        providers.a.price_factor: expected a factor above 0, a million at most
        models.gpt-4o: "gpt-4o" does not say which provider serves it [write it as provider/model, for example "openai/gpt-4o"]
        models.gpt-4o.like: "gpt-4o" does not say which provider serves it [write it as provider/model, for example "openai/gpt-4o"]
        keys[0].secret: `sha256:` needs 64 hexadecimal digits [`printf %s "$SECRET" | sha256sum` prints them]
        keys[0].chains[0]: not a pattern: unclosed character class; missing ']'
        keys[1]: `name` is missing
        keys[1]: `secret` is missing
        chains."a/b": "a/b" is not a chain's name [a name is made of letters, digits, `.`, `_` and `-`]
        "#);
}

#[test]
fn a_commit_has_one_form() {
    let commit = |text: &str| problems(&format!("[defaults]\ncommit = {text}\n"));
    assert_eq!(commit("{ chars = 200 }"), "");
    assert_eq!(commit("{ time = \"800ms\" }"), "");
    insta::assert_snapshot!(
        [commit("{}"), commit("{ chars = 1, time = \"1s\" }"), commit("{ words = 3 }"), commit("200")].join("\n"),
        @r#"
        defaults.commit: `commit` needs either `chars` or `time`
        defaults.commit: `commit` needs either `chars` or `time`
        defaults.commit.words: unknown key `words` in `commit` [known here: chars, time]
        defaults.commit: expected "first_content", "complete", { chars = 200 } or { time = "800ms" }, found a whole number [this is a whole number]
        "#
    );
}

#[test]
fn misplaced_and_mistyped_keys() {
    insta::assert_snapshot!(problems(r#"
listen = "127.0.0.1:4000"
chain = 1
[server]
api_key = "env:A"
Max-Body = "1B"
[defaults]
targets = []
failures = 3
[chains.a]
targets = [{ model = "a/b", commit = "complete", mdoel = "c/d" }]
breaker = false
xyzzy = 1
"#), @r"
        listen: unknown key `listen` in the file's top level [does not belong here] [`listen` belongs in [server]]
        chain: unknown key `chain` in the file's top level [did you mean `chains`?]
        server.api_key: unknown key `api_key` in [server] [does not belong here] [`api_key` belongs in a provider]
        server.Max-Body: unknown key `Max-Body` in [server] [did you mean `max_body`?]
        defaults.targets: unknown key `targets` in [defaults] [does not belong here] [`targets` belongs in a chain]
        defaults.failures: unknown key `failures` in [defaults] [does not belong here] [`failures` belongs in `breaker`]
        chains.a.targets[0].commit: unknown key `commit` in a target [does not belong here] [`commit` belongs in [defaults] or a chain]
        chains.a.targets[0].mdoel: unknown key `mdoel` in a target [did you mean `model`?]
        chains.a.breaker: unknown key `breaker` in a chain [does not belong here] [`breaker` belongs in [defaults] or a provider]
        chains.a.xyzzy: unknown key `xyzzy` in a chain [known here: targets, why, by_task, by_tier, on_exhausted, image_fallback, describe, deadline, max_attempts, mode, commit, on_break, on, require, connect_timeout, first_token_timeout, idle_timeout, stream_timeout, answer_timeout, retries, retry_after_max, expected_output, max_cost, max_price, max_price_ratio]
        ");
}

#[test]
fn secrets_are_never_shown() {
    let text = r#"
[server]
admin_key = "hunter2" # a literal is a warning
[providers.a]
api_key = 12345678
apikey = "hunter2"
headers = { "x-auth" = "hunter2", "x y" = "hunter2" }
proxy = "http://user:hunter2@proxy"
api_keys = ["hunter2"]
[[keys]]
name = "a"
secret = "hunter2"
[[keys]]
name = "b"
secret = "sha256:hunter2"
[chains]
a = ["sk-proj-0123456789abcdef"]
"#;
    let told = told(text);
    for secret in ["hunter2", "12345678", "0123456789"] {
        assert!(!told.contains(secret), "{told}");
    }
    insta::assert_snapshot!(told, @r#"
        warning: a secret stands in the file itself, and goes wherever the file goes
         --> piton.toml:3:13
          |
        3 | admin_key = "*******" # a literal is a warning
          |             ^^^^^^^^^
          |
          = note: at server.admin_key
          = help: write "env:NAME" for an environment variable or "file:PATH" for a file

        error: expected a secret such as "env:OPENAI_API_KEY" or "file:/run/secrets/openai", found a whole number
         --> piton.toml:5:11
          |
        5 | api_key = ********
          |           ^^^^^^^^ this is a whole number
          |
          = note: at providers.a.api_key

        error: unknown key `apikey` in a provider
         --> piton.toml:6:1
          |
        6 | apikey = "*******"
          | ^^^^^^ did you mean `api_key`?
          |
          = note: at providers.a.apikey

        error: "x y" is no name of an HTTP header
         --> piton.toml:7:35
          |
        7 | headers = { "x-auth" = "*******", "x y" = "*******" }
          |                                   ^^^^^
          |
          = note: at providers.a.headers."x y"

        error: unknown key `api_keys` in a provider
         --> piton.toml:9:1
          |
        9 | api_keys = ["*******"]
          | ^^^^^^^^ did you mean `api_key`?
          |
          = note: at providers.a.api_keys

        warning: a secret stands in the file itself, and goes wherever the file goes
          --> piton.toml:12:10
           |
        12 | secret = "*******"
           |          ^^^^^^^^^
           |
           = note: at keys[0].secret
           = help: write "env:NAME" for an environment variable or "file:PATH" for a file

        error: `sha256:` needs 64 hexadecimal digits
          --> piton.toml:15:10
           |
        15 | secret = "**************"
           |          ^^^^^^^^^^^^^^^^
           |
           = note: at keys[1].secret
           = help: `printf %s "$SECRET" | sha256sum` prints them

        error: "************************" does not say which provider serves it
          --> piton.toml:17:6
           |
        17 | a = ["************************"]
           |      ^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = note: at chains.a[0]
           = help: write it as provider/model, for example "openai/************************"
        "#);
}
