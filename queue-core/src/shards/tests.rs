//! The choice of shards.

use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::job::Options;
use crate::limit::Limits;
use crate::unique::Unique;

fn shards(names: &[&str]) -> Result<Shards, InvalidShards> {
    let pool = PgPool::connect_lazy("postgres://nowhere").unwrap();
    let queue = |name| (name, Queue::new(pool.clone()));
    Shards::new(names.iter().copied().map(queue))
}

fn job(shard_by: ShardBy, options: Options) -> NewJob {
    NewJob {
        shard_by,
        ..NewJob::untyped("import", &json!({"file": 7}), options)
    }
}

fn of_tenant(tenant: &str) -> NewJob {
    let context = Context::new().tenant(tenant);
    job(ShardBy::Tenant, Options::new().context(context))
}

fn shard_of(shards: &Shards, job: &NewJob) -> String {
    match shards.choose(job).unwrap() {
        Choice::On(place) => shards.all[place].name.to_string(),
        moves @ Choice::Moves { .. } => panic!("{moves:?}"),
    }
}

#[tokio::test]
async fn the_order_in_which_shards_are_given_does_not_matter() {
    let [there, back] = [["a", "b", "c"], ["c", "b", "a"]].map(|names| shards(&names).unwrap());
    for number in 0..1_000 {
        let job = of_tenant(&number.to_string());
        assert_eq!(shard_of(&there, &job), shard_of(&back, &job));
    }
}

#[tokio::test]
async fn a_shard_that_is_added_takes_its_share_and_all_else_stays() {
    let three = shards(&["a", "b", "c"]).unwrap();
    let four = shards(&["a", "b", "c", "d"]).unwrap();
    let mut moved = 0;
    for number in 0..10_000 {
        let job = of_tenant(&format!("tenant-{number}"));
        let (old, new) = (shard_of(&three, &job), shard_of(&four, &job));
        if old != new {
            assert_eq!(new, "d");
            moved += 1;
        }
    }
    assert!((2_350..2_650).contains(&moved), "{moved}");
}

#[tokio::test]
async fn the_choice_never_changes() {
    let shards = shards(&["eu", "us", "asia"]).unwrap();
    let by = |shard_by, options| shard_of(&shards, &job(shard_by, options));
    let tenants = ["acme", "umbrella", "initech", "wayne", "żółw"].map(of_tenant);
    let tenants = tenants.map(|job| shard_of(&shards, &job));
    assert_eq!(tenants, ["asia", "eu", "eu", "us", "asia"]);

    let rules = [Unique::by_key("k"), Unique::by_args()];
    let unique = rules.map(|rule| by(ShardBy::UniqueKey, Options::new().unique(rule)));
    assert_eq!(unique, ["asia", "asia"]);

    let own = Limits::key("maps").and(Limits::key("other"));
    let limits = [own, Limits::key("maps").group("api")];
    let limits = limits.map(|limits| by(ShardBy::LimitKey, Options::new().limits(limits)));
    assert_eq!(limits, ["asia", "eu"]);

    let recurring = ["nightly", "clean", "report-7"];
    let recurring = recurring.map(|name| shards.shard_of_recurring(name).0);
    assert_eq!(recurring, ["us", "asia", "us"]);
}

#[tokio::test]
async fn jobs_without_the_part_that_decides_take_turns() {
    let shards = shards(&["a", "b", "c"]).unwrap();
    for shard_by in [
        ShardBy::Tenant,
        ShardBy::UniqueKey,
        ShardBy::LimitKey,
        ShardBy::Spread,
    ] {
        let job = job(shard_by, Options::new());
        let turns: BTreeSet<String> = (0..3).map(|_| shard_of(&shards, &job)).collect();
        assert_eq!(turns.len(), 3, "{shard_by:?}");
    }
}

#[tokio::test]
async fn a_unique_key_or_a_limit_without_the_part_that_decides_is_refused() {
    let shards = shards(&["a"]).unwrap();
    let unique = || Options::new().unique(Unique::by_key("k"));
    let limited = || Options::new().limits(Limits::key("k"));
    for (shard_by, options, lacks) in [
        (ShardBy::Tenant, unique(), "no tenant to"),
        (ShardBy::Tenant, limited(), "no tenant to"),
        (ShardBy::UniqueKey, limited(), "no unique key"),
        (ShardBy::LimitKey, unique(), "no limit"),
        (ShardBy::Spread, unique(), "no part to"),
        (ShardBy::Spread, limited(), "no part to"),
    ] {
        let refused = shards.check(&job(shard_by, options)).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.starts_with("`import` has a unique key or a limit"),
            "{message}"
        );
        assert!(message.contains(lacks), "{message}");
    }
    shards.check(&job(ShardBy::UniqueKey, unique())).unwrap();
    shards.check(&job(ShardBy::LimitKey, limited())).unwrap();
}

#[tokio::test]
async fn names_are_valid_and_different() {
    let refused = |names| shards(names).unwrap_err().to_string();
    assert!(refused(&[]).contains("at least one"));
    assert!(refused(&["eu", "us", "eu"]).contains("`eu` is there twice"));
    assert!(refused(&["eu:1"]).contains("a colon"));
    assert!(refused(&["two words"]).contains("not allowed"));

    let shards = shards(&["eu", "us"]).unwrap();
    assert!(shards.get("us").is_some() && shards.get("asia").is_none());
    assert_eq!(
        Vec::from_iter(shards.iter().map(|(name, _)| name)),
        ["eu", "us"]
    );
}

#[tokio::test]
async fn only_the_keys_of_a_shard_that_is_drained_move() {
    let before = shards(&["a", "b", "c"]).unwrap();
    let drained = before
        .clone()
        .with_state("b", ShardState::Draining)
        .unwrap();
    for number in 0..1_000 {
        let job = of_tenant(&number.to_string());
        let (old, new) = (shard_of(&before, &job), shard_of(&drained, &job));
        assert!(new != "b" && (old == "b" || old == new), "{old} {new}");
    }
    let spread = job(ShardBy::Spread, Options::new());
    let turns: BTreeSet<String> = (0..4).map(|_| shard_of(&drained, &spread)).collect();
    assert_eq!(Vec::from_iter(turns), ["a", "c"]);
    for number in 0..100 {
        let name = format!("r{number}");
        let [old, new] = [&before, &drained].map(|shards| shards.shard_of_recurring(&name).0);
        assert!(new != "b" && (old == "b" || old == new), "{old} {new}");
    }
}

#[tokio::test]
async fn one_shard_is_added_after_the_other() {
    let adding = shards(&["a", "b", "c"])
        .unwrap()
        .with_state("b", ShardState::Adding)
        .unwrap();
    let refused = adding
        .clone()
        .with_state("c", ShardState::Adding)
        .unwrap_err();
    assert_eq!(refused, InvalidShards::TwoAdding);
    adding
        .with_state("b", ShardState::Open)
        .unwrap()
        .with_state("c", ShardState::Adding)
        .unwrap();
}

#[tokio::test]
async fn the_keys_that_move_to_a_shard_that_is_added_are_those_that_will_be_there() {
    let before = shards(&["a", "b"]).unwrap();
    let after = shards(&["a", "b", "c"]).unwrap();
    let adding = after.clone().with_state("c", ShardState::Adding).unwrap();
    for number in 0..1_000 {
        let job = of_tenant(&number.to_string());
        let (old, new) = (shard_of(&before, &job), shard_of(&after, &job));
        match adding.choose(&job).unwrap() {
            Choice::On(place) => {
                assert_eq!(old, new);
                assert_eq!(&*adding.all[place].name, new);
            }
            Choice::Moves { to, from, part } => {
                assert_eq!(&*adding.all[to].name, "c");
                assert_eq!(new, "c");
                assert_eq!(&*adding.all[from].name, old);
                assert_eq!(part, Part::Tenant(number.to_string()));
            }
        }
        let name = format!("r{number}");
        let recurring = before.shard_of_recurring(&name).0;
        assert_eq!(adding.shard_of_recurring(&name).0, recurring);
    }
}

#[tokio::test]
async fn one_shard_at_least_is_open() {
    let shards = shards(&["a", "b"]).unwrap();
    let unknown = shards.clone().with_state("c", ShardState::Adding);
    assert_eq!(unknown.unwrap_err(), InvalidShards::Unknown("c".to_owned()));
    let shards = shards.with_state("a", ShardState::Draining).unwrap();
    let none = shards.clone().with_state("b", ShardState::Adding);
    assert_eq!(none.unwrap_err(), InvalidShards::NoneOpen);
    let none = shards.with_state("a", ShardState::Open).unwrap();
    none.with_state("b", ShardState::Adding).unwrap();
}

#[tokio::test]
async fn kinds_that_share_a_group_of_limits_have_the_same_rule() {
    let shards = shards(&["a", "b"]).unwrap();
    let limited = |kind: &str, group: &'static str, shard_by| {
        let limits = Limits::key("k").group(group);
        let job = job(shard_by, Options::new().limits(limits));
        NewJob {
            kind: kind.to_owned().into(),
            ..job
        }
    };
    shards
        .check(&limited("import", "api", ShardBy::LimitKey))
        .unwrap();
    shards
        .check(&limited("export", "api", ShardBy::LimitKey))
        .unwrap();
    shards
        .check(&limited("mail", "other", ShardBy::LimitKey))
        .unwrap();
    let context = Context::new().tenant("acme");
    let by_tenant =
        limited("sync", "api", ShardBy::Tenant).with(|options| options.context(context));
    let refused = shards.check(&by_tenant).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`import` and `sync` share the limits of the group `api`, which hold on one shard only, but the shard of `import` \
         is chosen by its limit, and that of `sync` by its tenant: give both the same `Job::SHARD_BY`"
    );
}
