//! The tree's own rules; what it has in common with tf2 is tested against tf2 (tests/policy/transforms.rs).

use super::*;

fn ms(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn link<'a>(parent: &'a str, child: &'a str, at: i64) -> Link<'a> {
    let transform = Transform { translation: [1.0, 0.0, 0.0], ..Transform::IDENTITY };
    Link { parent, child, stamp: ms(at), transform, is_static: false }
}

fn fixed<'a>(parent: &'a str, child: &'a str) -> Link<'a> {
    Link { is_static: true, ..link(parent, child, 0) }
}

fn tree(links: &[Link<'_>]) -> TransformTree {
    let mut tree = TransformTree::default();
    for link in links {
        tree.insert(link, link.stamp).expect("a good link");
    }
    tree
}

#[test]
fn links_that_cannot_be_in_a_tree_are_refused() {
    let mut tree = tree(&[link("base", "arm", 1000)]);
    let mut refused = |link: Link<'_>| tree.insert(&link, ms(1000)).expect_err("refused");
    assert!(matches!(refused(link("", "arm", 1000)), LinkError::Unnamed { .. }));
    assert!(matches!(refused(link("base", "/", 1000)), LinkError::Unnamed { .. }));
    assert!(matches!(refused(link("arm", "/arm", 1000)), LinkError::OwnParent { frame } if frame == "arm"));
    let ahead = refused(link("base", "arm", 2001));
    assert!(matches!(ahead, LinkError::Ahead { ahead, .. } if ahead == Span::from_millis(1001.0)), "{ahead}");
    assert_eq!(
        tree.latest_common(&Route::new("base", "arm")).map(|common| common.map(|c| c.stamp)),
        Ok(Some(ms(1000)))
    );
}

#[test]
fn the_slash_of_ros_1_does_not_matter() {
    let tree = tree(&[link("/base", "arm", 10), link("base", "/arm", 20)]);
    assert_eq!(tree.len(), 2);
    assert!(tree.lookup(&Route::new("/base", "/arm"), ms(15)).is_ok());
}

#[test]
fn the_newest_common_time_names_the_frame_that_holds_it_back() {
    let tree =
        tree(&[link("base", "one", 300), link("one", "two", 100), link("two", "tool", 200), fixed("base", "camera")]);
    let common = |target, source| tree.latest_common(&Route::new(target, source)).expect("connected");
    let two = Some(Common { stamp: ms(100), frame: "two".into() });
    assert_eq!(
        [common("base", "tool"), common("tool", "base"), common("camera", "tool")],
        [two.clone(), two.clone(), two]
    );
    assert_eq!(common("base", "camera"), None, "static at any time");
    assert_eq!(common("base", "one"), Some(Common { stamp: ms(300), frame: "one".into() }));
}

#[test]
fn frames_of_two_trees_are_disconnected_with_both_roots() {
    let tree = tree(&[link("base", "arm", 0), link("arm", "tool", 0), link("map", "odom", 0)]);
    let expected = Err(LookupError::Disconnected {
        target: "odom".into(),
        target_root: "map".into(),
        source_frame: "tool".into(),
        source_root: "base".into(),
    });
    let route = Route::new("odom", "tool");
    assert_eq!(tree.latest_common(&route).map(|_| ()), expected);
    assert_eq!(tree.lookup(&route, ms(0)).map(|_| ()), expected);
}

#[test]
fn a_loop_is_refused_by_every_question() {
    let tree = tree(&[link("a", "b", 0), link("b", "c", 0), link("c", "a", 0), link("base", "arm", 0)]);
    for route in [Route::new("base", "a"), Route::new("arm", "c"), Route::new("b", "arm")] {
        assert!(matches!(tree.lookup(&route, ms(0)), Err(LookupError::Loop { .. })), "{route:?}");
        assert!(matches!(tree.latest_common(&route), Err(LookupError::Loop { .. })), "{route:?}");
    }
}

#[test]
fn when_the_clock_went_back_only_static_transforms_are_left() {
    let mut tree = tree(&[link("base", "arm", 1000), fixed("arm", "tool")]);
    tree.clear();
    assert!(matches!(tree.latest_common(&Route::new("base", "tool")), Err(LookupError::Disconnected { .. })));
    assert_eq!(tree.insert(&link("base", "arm", 10), ms(10)), Ok(true));
    assert!(tree.lookup(&Route::new("base", "tool"), ms(10)).is_ok());
}

#[test]
fn frames_without_end_do_not_fill_the_memory() {
    let mut tree = TransformTree::default();
    let names: Vec<String> = (0..=MAX_FRAMES).map(|number| format!("frame_{number}")).collect();
    for name in &names[1..MAX_FRAMES] {
        tree.insert(&link(&names[0], name, 0), ms(0)).expect("fits");
    }
    let error = tree.insert(&link("frame_0", names.last().expect("one"), 0), ms(0)).expect_err("too many");
    assert!(matches!(error, LinkError::TooManyFrames { limit: MAX_FRAMES, .. }));
    assert_eq!((tree.insert(&link("frame_0", "frame_1", 1), ms(1)), tree.len()), (Ok(true), MAX_FRAMES));
}
