//! What is shared, and among whom: a place of a chain among deployments and keys, Piton among its callers.

use super::grouped;
use crate::config::file::Key;
use crate::routing::Target;
use crate::routing::group::Group;

/// What a caller may take at most, where that is limited.
pub fn limits(key: &Key) -> String {
    let limits = [
        (&key.requests_per_minute, "requests per minute"),
        (&key.tokens_per_minute, "tokens per minute"),
        (&key.concurrency, "requests at the same time"),
    ];
    let set = limits.into_iter().filter_map(|(count, what)| {
        let count = count.as_ref()?.get();
        Some(format!("{} {what}", grouped(count.into())))
    });
    let set: Vec<String> = set.collect();
    if set.is_empty() { String::new() } else { format!("\nkey {}: {}\n", key.name.value, set.join(", ")) }
}

/// The deployments of a target, each once however many keys it has.
pub fn distinct(target: &Target) -> Vec<&Target> {
    let mut distinct: Vec<&Target> = Vec::new();
    for deployment in target.deployments() {
        if distinct.iter().all(|known| known.id != deployment.id) {
            distinct.push(deployment);
        }
    }
    distinct
}

/// Who gets which share of a group's requests.
pub fn spread(group: &Group) -> String {
    let mut shares: Vec<(&str, f64, u32)> = Vec::new();
    for member in group.members() {
        match shares.iter_mut().find(|(id, ..)| *id == &*member.target.id) {
            Some((_, share, keys)) => {
                *share += group.share(member);
                *keys += 1;
            }
            None => shares.push((&member.target.id, group.share(member), 1)),
        }
    }
    let told = shares.into_iter().map(|(id, share, keys)| {
        let keys = if keys == 1 { String::new() } else { format!(" by {keys} keys") };
        format!("{id} {:.0} %{keys}", share * 100.0)
    });
    format!("shared, {}: {}", group.balance.code(), told.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;

    const FILE: &str = r#"
[providers.east]
kind = "openai"
base_url = "https://east.test/v1"
api_key = ["env:OPENAI_API_KEY", "env:GONE", "a-second-key"]
[providers.west]
kind = "openai"
base_url = "https://west.test/v1"
[models."east/four"]
like = "openai/gpt-4o"
[models."west/vier"]
like = "openai/gpt-4o"
[[chains.spread.targets]]
any = [{ model = "east/four", weight = 3 }, "west/vier"]
why = "Two regions."
[[chains.spread.targets]]
model = "openai/gpt-4o"
[chains]
keys = ["east/four"]
[[keys]]
name = "batch"
secret = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
requests_per_minute = 60
tokens_per_minute = 200000
concurrency = 4
[[keys]]
name = "free"
secret = "sha256:0000000000000000000000000000000000000000000000000000000000000001"
"#;

    #[test]
    fn groups_keys_and_the_limits_of_callers_are_shown() {
        insta::assert_snapshot!(shown(FILE, true), @r#"
        piton.toml: no errors, 2 warnings; configuration abc, 2 chains, 2 keys at 127.0.0.1:4000

        spread: 6 attempts within 10m, commits at the first content
             target         in $/M  out $/M   window  max output  credential
          0  east/four        2.50    10.00  128,000      16,384  keys env:OPENAI_API_KEY, env:GONE (missing), a secret in the file itself
               https://east.test/v1/chat/completions
             west/vier        2.50    10.00  128,000      16,384  none
               https://west.test/v1/chat/completions
               shared, least_loaded: east/four 75 % by 2 keys, west/vier 25 %
               Two regions.
               clocks: first token by its size, idle 30s, stream 10m, answer 10m; 1 retry
               cannot: audio, reasoning
          1  openai/gpt-4o    2.50    10.00  128,000      16,384  env:OPENAI_API_KEY
               https://api.openai.com/v1/chat/completions
               clocks: first token by its size, idle 30s, stream 10m, answer 10m; 1 retry
               cannot: audio, reasoning

        keys: 4 attempts within 10m, commits at the first content
             target     in $/M  out $/M   window  max output  credential
          0  east/four    2.50    10.00  128,000      16,384  keys env:OPENAI_API_KEY, env:GONE (missing), a secret in the file itself
               https://east.test/v1/chat/completions
               shared, least_loaded: east/four 100 % by 2 keys
               clocks: first token by its size, idle 30s, stream 10m, answer 10m; 1 retry
               cannot: audio, reasoning

        key batch: 60 requests per minute, 200,000 tokens per minute, 4 requests at the same time
        "#);
    }

    #[test]
    fn keys_that_nobody_looks_at_count_as_there() {
        let text = shown(FILE, false);
        assert!(text.contains("spread: 7 attempts") && text.contains("keys: 5 attempts"), "{text}");
        assert!(text.contains("env:GONE, a secret in the file itself (not looked at)"), "{text}");
    }
}
