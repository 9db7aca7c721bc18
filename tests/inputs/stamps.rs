//! Inputs whose samples are stamped by their arrival: drivers that do not stamp their messages.

use std::io;
use std::sync::{Arc, Mutex};

use vla_base::time::{Span, Stamp};
use vla_messages::{HeaderView, write};
use vla_policy::observation::{
    Error, InputKind, InputRule, InputSpec, Inputs, JointNames, Rules, StampSource, Transport,
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs, one line each.
fn logged(work: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(log.0.lock().expect("one thread").clone()).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn ms(ms: i64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

const NAMES: [&str; 5] = ["raw", "compressed", "joints", "pose", "odometry"];

/// One input of each kind with a header, stamped as these say.
fn inputs(stamps: [StampSource; 5]) -> Inputs {
    let kinds = [
        InputKind::Camera { transport: Transport::Raw },
        InputKind::Camera { transport: Transport::Compressed },
        InputKind::Joints,
        InputKind::Pose,
        InputKind::Odometry,
    ];
    let specs = kinds.into_iter().zip(NAMES).zip(stamps).map(|((kind, name), stamp_from)| InputSpec {
        joints: JointNames { read: vec!["waist".into()], ..JointNames::default() },
        stamp_from,
        ..InputSpec::new(name, kind, [format!("/{name}")])
    });
    let inputs = Inputs::new(specs.collect());
    inputs.set_instruction("go");
    inputs
}

/// A message of each input without a stamp, which arrives at `received`.
fn offer(inputs: &Inputs, received: Stamp) -> Vec<Result<(), Error>> {
    let header = HeaderView { stamp: Stamp::default(), frame_id: "base" };
    let messages = [
        write::image(header, 2, 2, "rgb8", 6, &[9; 12]),
        write::compressed_image(header, "jpeg", &[0xff, 0xd8, 0xff]),
        write::joint_state(header, &["waist"], &[0.5], &[], &[]),
        write::pose_stamped(header, [0.0; 3], [0.0, 0.0, 0.0, 1.0]),
        write::odometry(header, "tool", [0.0; 3], [0.0, 0.0, 0.0, 1.0]),
    ];
    messages.into_iter().enumerate().map(|(index, bytes)| inputs.offer(index, bytes.into(), received)).collect()
}

#[test]
fn every_kind_of_input_can_be_stamped_by_arrival_and_each_is_warned_about_once() {
    let inputs = inputs([StampSource::Arrival; 5]);
    let lines = logged(|| {
        for at in [1000, 1010, 1020] {
            offer(&inputs, ms(at)).into_iter().for_each(|taken| taken.expect("the arrival is its time"));
        }
    });
    let warned =
        |name: &str| lines.iter().filter(|line| line.contains("WARN") && line.contains(&format!("`{name}`"))).count();
    assert_eq!(NAMES.map(warned), [1; 5], "{lines:#?}");
    let rules = Rules { per_input: vec![InputRule::age(Span::from_millis(50.0), true); 5], ..Rules::default() };
    let observation = inputs.assemble(ms(1070), &rules).expect("50 ms old");
    assert!(observation.identity().all(|(_, stamp)| stamp == ms(1020)));
    let violation = inputs.assemble(ms(1071), &rules).expect_err("51 ms old");
    assert_eq!(violation.breaches.len(), 5, "{violation}");
}

#[test]
fn one_input_by_arrival_leaves_the_others_to_their_headers() {
    for arrives in 0..NAMES.len() {
        let mut stamps = [StampSource::Header; 5];
        stamps[arrives] = StampSource::Arrival;
        let inputs = inputs(stamps);
        let mut taken = Vec::new();
        let lines = logged(|| taken = offer(&inputs, ms(1000)));
        for (index, result) in taken.iter().enumerate() {
            let unstamped = matches!(result, Err(Error::Unstamped { input, .. }) if input == NAMES[index]);
            assert_eq!(unstamped, index != arrives, "{}: {result:?}", NAMES[index]);
        }
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}
