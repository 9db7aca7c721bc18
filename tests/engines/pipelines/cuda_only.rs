//! What engine kind cuda alone does.

use std::fs;

use vla_base::tensor::DType;
use vla_engines::provenance::Reason;
use vla_engines::{EngineKind, Error, Launch};
use vla_policy::EncodeDevice;

use super::bench::{Bench, Kind, Load};
use super::given::{Given, assert_same_bits};
use super::policy::{chunk_of, load, load_with, observation};

fn open() -> Option<Bench> {
    Bench::open(Kind::Cuda(DType::F16))
}

#[test]
fn forty_chunks_of_one_observation_are_the_same_bit_by_bit_also_after_a_load() {
    let Some(bench) = open() else { return };
    let spec = bench.spec();
    let seen = observation(&spec, "pick up the red cube", 0);
    let mut policy = load(&spec, EngineKind::Cuda);
    let first = chunk_of(&mut policy, &seen, 11, 4);
    for round in 1..20 {
        assert_same_bits(&chunk_of(&mut policy, &seen, 11, 4), &first, &format!("round {round}"));
    }
    drop(policy);
    // With the algorithms that were measured and kept by the first load.
    let mut policy = load(&spec, EngineKind::Cuda);
    for round in 20..40 {
        assert_same_bits(&chunk_of(&mut policy, &seen, 11, 4), &first, &format!("round {round}"));
    }
}

#[test]
fn frames_that_the_gpu_resamples_give_the_chunks_of_those_that_the_cpu_does() {
    let Some(bench) = open() else { return };
    let spec = bench.spec();
    for launch in [Launch::Graph, Launch::WaitAfterEach] {
        let [mut cpu, mut gpu] = [EncodeDevice::Cpu, EncodeDevice::Gpu].map(|device| {
            load_with(&spec, EngineKind::Cuda, |options| (options.launch, options.encode_device) = (launch, device))
        });
        assert_eq!([&cpu, &gpu].map(vla_policy::Policy::resamples_on_device), [false, true]);
        for shade in 0..6 {
            let seen = observation(&spec, "pick up the red cube", shade);
            let expected = chunk_of(&mut cpu, &seen, 11, 4);
            assert_same_bits(&chunk_of(&mut gpu, &seen, 11, 4), &expected, &format!("{launch:?}, shade {shade}"));
        }
    }
}

/// As an integrated GPU does it: the kernels read frames, pixels and tables where the host writes them.
#[test]
fn memory_that_the_device_reads_in_place_gives_the_bits_of_a_copy() {
    let Some(bench) = open() else { return };
    let usual = Given::usual(&bench);
    let others = [usual.clone(), usual.with_text(40).with_salt(8)];
    let mut copying = bench.load(Load { in_place: Some(false), ..Load::default() });
    let of_pixels = others.each_ref().map(|given| given.run(&mut *copying));
    assert!(copying.accept_frames("pixels"));
    let of_frames = others.each_ref().map(|given| given.run_with_frames(&mut *copying));
    assert!(of_frames[0] != of_pixels[0], "frames have other pixels");
    drop(copying);
    for launch in [Launch::Graph, Launch::StepByStep, Launch::WaitAfterEach] {
        for frames in [false, true] {
            let mut reading = bench.load(Load { in_place: Some(true), launch, ..Load::default() });
            assert!(!frames || reading.accept_frames("pixels"));
            for round in 1..=3 {
                for (given, (of_pixels, of_frames)) in others.iter().zip(of_pixels.iter().zip(&of_frames)) {
                    let what = format!("in place, {launch:?}, frames {frames}, round {round}");
                    assert_same_bits(&given.run(&mut *reading), of_pixels, &what);
                    if frames {
                        assert_same_bits(&given.run_with_frames(&mut *reading), of_frames, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn tactics_are_kept_beside_the_list_and_damaged_ones_are_measured_again() {
    let Some(bench) = open() else { return };
    let stages = bench.stages();
    let kept = |at: usize| {
        let mut name = stages[at].file.clone().into_os_string();
        name.push(".tactics.json");
        std::path::PathBuf::from(name)
    };
    let given = Given::usual(&bench);
    let prepare = || bench.load(Load::default()).prepare(&given.symbols(), given.steps).expect("prepared");
    prepare();
    let text = fs::read(kept(0)).expect("tactics were kept");
    fs::write(kept(0), &text[..text.len() / 2]).expect("cut");
    prepare();
    let again: serde_json::Value = serde_json::from_slice(&fs::read(kept(0)).expect("kept")).expect("whole again");
    assert!(again["tactics"].as_array().is_some_and(|tactics| !tactics.is_empty()), "{again}");
}

#[test]
fn weights_that_do_not_fit_are_refused_before_they_are_loaded() {
    let Some(bench) = open() else { return };
    let admission = vla_engines::Admission { budget: Some(1 << 20), ..Default::default() };
    let refused = bench.load_stages(&bench.stages(), Load { admission, ..Load::default() }, &mut |_| {});
    assert!(matches!(refused.err(), Some(Error::DoesNotFit(_))));
}

#[test]
fn a_list_of_another_network_is_refused_before_anything_is_loaded() {
    let Some(bench) = open() else { return };
    let stages = bench.stages();
    fs::copy(&stages[0].file, &stages[1].file).expect("copied");
    let refused = bench.load_stages(&stages, Load::default(), &mut |_| panic!("something was loaded")).err();
    let Some(Error::Provenance { rejections }) = refused else { panic!("{refused:?}") };
    assert!(matches!(rejections[0].reason, Reason::Operations(_)) && rejections.len() == 1, "{rejections:?}");
}
