use acceptance::bip340::random_scalar;

use super::*;
use crate::history::{Life, Window};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An exchange of ten milliseconds, at `ms`.
fn exchange(ms: u64, request: Request, status: Option<u16>) -> Exchange {
    let outcome = match status {
        Some(status) => Outcome::Answered { status, body: String::new() },
        None => Outcome::Cut("closed".to_owned()),
    };
    let (connected, sent) = (Some(at(ms + 1)), Some(at(ms + 2)));
    Exchange { request, way: Way::Fresh, began: at(ms), connected, sent, ended: at(ms + 10), outcome }
}

fn sign(nonce: &str) -> Request {
    Request::Sign { identity: "a".to_owned(), digest: [7; 32], nonce: nonce.to_owned(), has_expired: false }
}

fn window(span: Span, from: u64, to: u64) -> Window {
    Window { span, from: at(from), to: at(to) }
}

/// A history with one signer, which runs all the time.
fn history(exchanges: Vec<Exchange>) -> History {
    History { exchanges, lives: vec![Life { from: Duration::ZERO, to: Duration::MAX }], ..History::default() }
}

/// The verdict on a run that is too short for all samples.
fn judged(history: &History) -> Verdict {
    judge(history, Duration::from_secs(30))
}

/// The rules that are broken, without what the signature of a made-up answer breaks.
fn broken(history: &History) -> Vec<&'static str> {
    let rules = judged(history).violations.into_keys();
    rules.filter(|rule| *rule != "every answered signature verifies").collect()
}

#[test]
fn a_ticket_is_used_once_by_one_signer_and_may_be_used_again_by_the_next() {
    let twice = vec![exchange(100, sign("n"), Some(200)), exchange(200, sign("n"), Some(200))];
    let mut history = history(twice);
    assert_eq!(broken(&history), ["no ticket is answered 200 twice within one life of a signer"]);
    history.lives = vec![Life { from: at(0), to: at(150) }, Life { from: at(160), to: Duration::MAX }];
    assert!(broken(&history).is_empty());
    // Which of the two it was cannot be told.
    history.lives = vec![Life { from: at(0), to: at(205) }, Life { from: at(206), to: Duration::MAX }];
    assert!(broken(&history).is_empty());
}

#[test]
fn a_replay_is_right_only_for_a_ticket_that_was_sent_before() {
    let rule = ["an honest request gets a right answer"];
    assert_eq!(broken(&history(vec![exchange(0, sign("n"), Some(409))])), rule);
    let replayed = vec![exchange(0, sign("n"), Some(200)), exchange(20, sign("n"), Some(409))];
    let verdict = judged(&history(replayed));
    assert_eq!(verdict.replays_refused, 1);
}

#[test]
fn a_status_is_right_or_explained_by_what_was_down() {
    let rule = ["an honest request gets a right answer"];
    let export = Request::Export { identity: "a".to_owned() };
    for (request, status, span) in [
        (Request::Health, 503, Span::Down),
        (sign("n"), 503, Span::Drain),
        (export.clone(), 502, Span::KeyServiceDown),
        (export, 503, Span::KeyServiceDown),
    ] {
        let mut history = history(vec![exchange(100, request, Some(status))]);
        assert_eq!(broken(&history), rule, "{status}");
        history.windows = vec![window(span, 50, 105)];
        assert!(broken(&history).is_empty(), "{status}");
    }
    for (request, status) in [(sign("n"), 401), (sign("n"), 500), (sign("n"), 403), (Request::Health, 404)] {
        let mut history = history(vec![exchange(100, request, Some(status))]);
        history.windows = vec![window(Span::Down, 50, 105)];
        assert_eq!(broken(&history), rule, "{status}");
    }
}

#[test]
fn a_request_is_cut_only_with_a_process_and_never_by_a_drain_that_has_it() {
    let cut = || vec![exchange(1000, sign("n"), None)];
    let mut history = history(cut());
    assert_eq!(broken(&history), ["no honest request is cut while signer and proxy run"]);
    history.windows = vec![window(Span::Down, 1005, 2000)];
    assert!(broken(&history).is_empty());

    // It had connected before the drain, and was on the way.
    history.windows = vec![window(Span::Drain, 1005, 2000)];
    assert!(broken(&history).is_empty());
    let rule = ["a drain answers what it accepted"];
    // Accepted while draining.
    history.windows = vec![window(Span::Drain, 900, 2000), window(Span::Down, 2000, 3000)];
    assert_eq!(broken(&history), rule);
    // It took longer than a drain waits for.
    history.exchanges[0].began = at(400);
    assert!(broken(&history).is_empty());
    history.exchanges = cut();
    // Had arrived long before.
    history.exchanges[0].ended = at(1500);
    history.windows = vec![window(Span::Drain, 1400, 2000)];
    assert_eq!(broken(&history), rule);
    // Had begun before, and was not over by far.
    history.exchanges[0].way = Way::Begun;
    assert_eq!(broken(&history), rule);
    // Was never accepted.
    history.exchanges = cut();
    history.exchanges[0].connected = None;
    history.windows = vec![window(Span::Drain, 900, 2000)];
    assert!(broken(&history).is_empty());
}

#[test]
fn a_key_is_missed_while_the_signer_that_had_it_lives() {
    let export = || Request::Export { identity: "a".to_owned() };
    let generate = || Request::Generate { identity: "a".to_owned() };
    let lost = vec![exchange(0, generate(), Some(201)), exchange(100, export(), Some(404))];
    let rule = "a key stays until it is destroyed";
    let mut history = history(lost);
    assert!(broken(&history).contains(&rule));
    history.lives = vec![Life { from: at(0), to: at(50) }, Life { from: at(60), to: Duration::MAX }];
    assert!(!broken(&history).contains(&rule));
    // A destruction whose answer was cut may have happened.
    history.lives.truncate(1);
    history.lives[0].to = Duration::MAX;
    history.exchanges.insert(1, exchange(20, Request::Destroy { identity: "a".to_owned() }, None));
    history.windows = vec![window(Span::Down, 20, 30)];
    assert!(!broken(&history).contains(&rule));
}

#[test]
fn a_signature_has_to_verify_under_the_key_that_was_told() {
    let mut history = history(vec![exchange(0, sign("n"), Some(200))]);
    let public_key = bip340::public_key(&random_scalar()).unwrap();
    history.known_keys.insert("a".to_owned(), public_key);
    let bad = format!(r#"{{"signature":"{}"}}"#, "1".repeat(128));
    history.exchanges[0].outcome = Outcome::Answered { status: 200, body: bad };
    let verdict = judged(&history);
    assert_eq!(verdict.signatures, 0);
    assert!(verdict.violations.contains_key("every answered signature verifies"));
}

#[test]
fn an_answer_has_its_deadline_even_when_a_process_is_down() {
    let mut late = exchange(0, Request::Health, Some(200));
    late.ended = DEADLINE + at(1);
    let mut history = history(vec![late]);
    history.windows = vec![window(Span::Down, 0, 20_000)];
    assert_eq!(broken(&history), ["an answer or an end within the deadline"]);
}

/// A hundred exchanges without faults, and a hundred under a fault that take `slow_ms`.
fn measured(slow_ms: u64) -> History {
    let mut exchanges: Vec<Exchange> =
        (0..100).map(|n| exchange(n * 10, Request::Health, Some(200))).collect();
    for n in 0..100 {
        let mut slow = exchange(10_000 + n * 10, Request::Health, Some(200));
        slow.ended = slow.began + at(slow_ms);
        exchanges.push(slow);
    }
    let mut history = history(exchanges);
    history.windows =
        vec![window(Span::Quiet, 0, 9000), window(Span::Fault(Kind::BadRequests), 9500, 20_000)];
    history
}

#[test]
fn latency_under_faults_is_compared_where_a_signer_runs() {
    let rule = "the p99 under faults is under 5 times the p99 without";
    assert!(broken(&measured(400)).is_empty(), "within the floor");
    let mut history = measured(500);
    let verdict = judged(&history);
    let lines = verdict.violations();
    assert_eq!(lines.len(), 2, "all faults, and the kind: {lines:?}");
    assert!(lines.iter().all(|line| line.starts_with(rule)), "{lines:?}");
    history.windows.push(window(Span::Down, 9500, 20_000));
    assert!(broken(&history).is_empty());
}

#[test]
fn a_client_that_starves_is_noticed_though_it_asks_little() {
    let mut history = measured(500);
    history.exchanges.truncate(100 + MEDIAN_SAMPLES);
    let lines = judged(&history).violations();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("p50 of 10 is 500 ms")), "{lines:?}");
    history.exchanges.truncate(100 + MEDIAN_SAMPLES - 1);
    assert!(broken(&history).is_empty());
}

#[test]
fn a_report_tells_the_ratio_or_why_there_is_none() {
    let faults = (Group::Fresh, Condition::Faults);
    let mut history = measured(20);
    assert_eq!(judged(&history).comparisons[&faults], Comparison { percent: 90, ratio: 2.0 });
    let mut many = measured(20);
    many.exchanges.extend((1..5).flat_map(|_| measured(20).exchanges));
    assert_eq!(judged(&many).comparisons[&faults], Comparison { percent: 99, ratio: 2.0 });
    history.exchanges.truncate(100 + MEDIAN_SAMPLES);
    assert_eq!(judged(&history).comparisons[&faults], Comparison { percent: 50, ratio: 2.0 });
    history.exchanges.truncate(100 + MEDIAN_SAMPLES - 1);
    let verdict = judged(&history);
    assert_eq!(verdict.comparisons.get(&faults), None);
    for condition in ["all faults", "bad requests"] {
        let line = format!("new connection, {condition}: 9 samples, 10 are needed");
        assert!(verdict.not_compared.contains(&line), "{:?}", verdict.not_compared);
    }
}

#[test]
fn too_few_samples_without_faults_break_a_rule_in_a_run_of_a_minute() {
    let mut history = measured(20);
    let minute = Duration::from_secs(60);
    let is_told = |history: &History, lasted| {
        let line = format!("{FEW_SAMPLES}: new connection: 9 samples without faults, 10 are needed");
        judge(history, lasted).violations().contains(&line)
    };
    assert!(!is_told(&history, minute));
    history.exchanges.drain(..50);
    assert!(!is_told(&history, minute));
    let few = judge(&history, minute).comparisons[&(Group::Fresh, Condition::Faults)];
    assert_eq!(few.percent, 50, "the p99 of few samples is not compared with");
    history.exchanges.drain(..50 - (MEDIAN_SAMPLES - 1));
    assert!(is_told(&history, minute));
    assert!(!is_told(&history, minute - at(1)));
    assert!(
        judged(&history)
            .not_compared
            .iter()
            .any(|line| line.starts_with("new connection: 9 samples without")),
        "the report of a shorter run has the line"
    );
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let latencies = Latencies((1..=200).map(at).collect());
    let ranks = [(50, 100), (99, 198), (100, 200)];
    for (percent, ms) in ranks {
        assert_eq!(latencies.percentile(percent), at(ms));
    }
    assert_eq!(Latencies::default().percentile(99), Duration::ZERO);
}

#[test]
fn of_a_rule_that_is_broken_often_a_few_lines_are_told() {
    let cuts = (0..50).map(|n| exchange(n * 20, Request::Health, None)).collect();
    let lines = judged(&history(cuts)).violations();
    assert_eq!(lines.len(), TOLD + 1);
    assert!(lines[TOLD].ends_with("and 40 more"), "{}", lines[TOLD]);
}
