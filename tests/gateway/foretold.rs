//! What a plan foretells of budgets is what becomes of the request that follows, and foretelling takes nothing.

use serde_json::{Value, json};

use crate::support::chain::metric;
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Output only has a price: an answer of [`replies::openai_json`] costs 20, 80, 40 and 60 micro-USD.
const PRICES: [u32; 4] = [10, 40, 20, 30];

struct Stage {
    gateway: Gateway,
    upstreams: Vec<Upstream>,
}

impl Stage {
    /// `a`, `b` and `c`, and `d` as the last chain; those that are named are down.
    async fn new(down: &str, budgets: &str) -> Self {
        let mut file = "[defaults]\nretries = 0\nbreaker = false\n".to_owned();
        let mut upstreams = Vec::new();
        for (name, price) in NAMES.into_iter().zip(PRICES) {
            let is_down = down.contains(name);
            let answer = if is_down {
                replies::openai_error(500, "server_error", None, "down")
            } else {
                replies::openai_json(name)
            };
            let upstream = Upstream::always(answer).await;
            file += &format!(
                "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n\
                 [models.\"{name}/m\"]\nprice = {{ input = 0, output = {price} }}\n",
                upstream.url()
            );
            upstreams.push(upstream);
        }
        file += "[chains.main]\non_exhausted = { chain = \"last\" }\ntargets = [\"a/m\", \"b/m\", \"c/m\"]\n\
                 [chains]\nlast = [\"d/m\"]\n";
        Self { gateway: Gateway::start(&(file + budgets)).await, upstreams }
    }

    async fn post(&self, user: &str, explain: bool) -> Response {
        let body =
            json!({ "model": "main", "max_tokens": 2, "messages": [{ "role": "user", "content": "Hi" }] });
        let mut headers = vec![("content-type", "application/json"), ("x-piton-user", user)];
        headers.extend(explain.then_some(("x-piton-explain", "true")));
        self.gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
    }

    async fn budgets(&self) -> Value {
        self.gateway.get("/piton/api/status").await.json()["budgets"].clone()
    }

    fn hits(&self) -> usize {
        self.upstreams.iter().map(Upstream::hits).sum()
    }
}

fn budget(name: &str, rest: &str) -> String {
    format!("[[budgets]]\nname = \"{name}\"\nper = \"24h\"\n{rest}\n")
}

/// The trail that a plan foretells, where these targets are down.
fn foretold(plan: &Value, down: &str) -> String {
    let of = |walk: &Value| walk["targets"].as_array().cloned().unwrap_or_default();
    let mut trail = Vec::new();
    for target in of(plan).into_iter().chain(of(&plan["on_exhausted"])) {
        let name = target["target"].as_str().expect("a name");
        if target["reached"] != true {
            continue;
        }
        match target["skip"].as_str() {
            Some(skip) => trail.push(format!("{name}=skip:{skip}")),
            None if down.contains(&name[..1]) => trail.push(format!("{name}=server_error")),
            None => {
                trail.push(format!("{name}=ok"));
                break;
            }
        }
    }
    trail.join(" ")
}

fn trail(answer: &Response) -> String {
    let header = answer.header("x-piton-trail").unwrap_or_default();
    let lines = header.split(", ").map(|line| line.split(';').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_is_foretold_comes_to_pass() {
    let several = budget("of-users", "usd = 0.0001\neach = \"user\"\non_exceeded = \"skip\"")
        + &budget("all", "requests = 6\non_exceeded = \"reject\"")
        + &budget("dear", "usd = 0.00008\nwhere = { target = \"b/*\" }\non_exceeded = \"downshift\"");
    let cases = [
        ("", budget("daily", "usd = 0.00005\non_exceeded = \"skip\"")),
        ("", budget("daily", "usd = 0.00005\non_exceeded = \"reject\"")),
        ("a", budget("daily", "usd = 0.0002\non_exceeded = \"downshift\"")),
        ("a", budget("daily", "usd = 0.0002\non_exceeded = \"skip\"")),
        ("a", budget("extra", "usd = 0.0001\ncounts = \"fallbacks\"\non_exceeded = \"skip\"")),
        ("a", budget("extra", "usd = 0.0001\ncounts = \"fallbacks\"\non_exceeded = \"reject\"")),
        ("a", budget("extra", "usd = 0.0001\ncounts = \"fallbacks\"\non_exceeded = \"downshift\"")),
        ("abc", budget("extra", "usd = 0.00007\ncounts = \"fallbacks\"\non_exceeded = \"downshift\"")),
        ("", budget("each", "requests = 1\neach = \"target\"\non_exceeded = \"skip\"")),
        ("", budget("tokens", "tokens = 80\non_exceeded = \"skip\"\nwhere = { target = \"a/*\" }")),
        ("ac", several),
    ];
    for (down, budgets) in cases {
        let stage = Stage::new(down, &budgets).await;
        let mut trails = Vec::new();
        for (number, user) in ["ann", "ann", "bob", "ann", "bob", "ann", "bob", "bob"].into_iter().enumerate()
        {
            let (before, hits) = (stage.budgets().await, stage.hits());
            let plan = stage.post(user, true).await.json();
            assert_eq!((stage.budgets().await, stage.hits()), (before, hits), "a plan takes nothing");
            let answer = stage.post(user, false).await;
            assert_eq!(trail(&answer), foretold(&plan, down), "{budgets}request {number}: {plan:#}");
            if plan["status"] == 200 {
                let first = plan["first"].as_str().or(plan["on_exhausted"]["first"].as_str());
                assert!(trail(&answer).contains(&format!("{}=", first.expect("a first"))), "{plan:#}");
            } else {
                let told = (u64::from(answer.status), &answer.json()["error"]["code"]);
                assert_eq!(told, (plan["status"].as_u64().unwrap(), &plan["error"]["code"]), "{plan:#}");
            }
            trails.push(trail(&answer));
        }
        assert!(trails[0] != trails[7], "the budget came to nothing: {budgets}{trails:?}");
    }
}

#[tokio::test]
async fn each_targets_budgets_say_what_it_would_take_and_what_follows() {
    let budgets = budget("daily", "usd = 0.00003\nrequests = 10\non_exceeded = \"skip\"")
        + &budget("extra", "usd = 1\ncounts = \"fallbacks\"");
    let stage = Stage::new("", &budgets).await;
    let plan = stage.post("ann", true).await.json();
    let told = |target: usize| plan["targets"][target]["budgets"].clone();
    let amounts = |share: &Value| {
        let takes = &share["takes_at_most"];
        (share["budget"].clone(), takes["usd"].clone(), takes["requests"].clone(), share["decision"].clone())
    };
    let first = told(0);
    assert_eq!(first.as_array().map(Vec::len), Some(1), "it stands in for nobody: {plan:#}");
    assert_eq!(amounts(&first[0]), (json!("daily"), json!(0.00002), json!(1), json!("fits")));
    let second = told(1);
    assert_eq!(amounts(&second[0]), (json!("daily"), json!(0.00008), json!(1), json!("skip")));
    assert_eq!(amounts(&second[1]), (json!("extra"), json!(0.00006), json!(1), json!("fits")));
    assert_eq!(plan["targets"][1]["skip"], "budget:daily");
    assert_eq!((&plan["targets"][1]["eligible"], &plan["first"]), (&json!(false), &json!("a/m")));
    assert!(metric(&stage.gateway, "piton_budget_alerts_total{").await.abs() < 1e-9, "it is no news");

    let output = std::process::Command::new(crate::support::piton())
        .args(["explain", "--model", "main", "--max-tokens", "2", "--no-secrets"])
        .current_dir(stage.gateway.directory())
        .env_clear()
        .env("PITON_CONFIG", stage.gateway.config_path())
        .output()
        .expect("a program that starts");
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(table.contains("skip: budget:daily"), "more than it ever holds: {table}");
}
