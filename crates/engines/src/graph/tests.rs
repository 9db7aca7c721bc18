use super::*;

fn spec(name: &str, dims: &[usize]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype: DType::F32, dims: dims.iter().map(|n| Dim::Fixed(*n)).collect() }
}

fn input(name: &str) -> Input {
    Input { tensor: name.into(), name: name.into(), dtype: None, dims: None, constants: None }
}

fn output(name: &str) -> Output {
    Output { tensor: name.into(), name: name.into(), dtype: None, dims: None, feeds: None }
}

fn stage(name: &str, repeat: bool, inputs: Vec<Input>, outputs: Vec<Output>) -> Stage {
    let file = std::path::PathBuf::from(format!("{name}.onnx"));
    Stage {
        name: name.into(),
        onnx: file.clone(),
        file,
        repeat,
        inputs,
        outputs,
        precision: "fp32".into(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    }
}

/// Inputs and outputs of a network.
type Network = (Vec<TensorSpec>, Vec<TensorSpec>);
/// Stages, their networks, and the host's tensors.
type Pieces = (Vec<Stage>, Vec<Network>, Vec<TensorSpec>);

/// vision: pixels -> rows; step: rows, actions -> next (feeds actions).
fn two_stages() -> Pieces {
    let mut next = output("next");
    next.feeds = Some("actions".into());
    let stages = vec![
        stage("vision", false, vec![input("pixels")], vec![output("rows")]),
        stage("step", true, vec![input("rows"), input("actions")], vec![next]),
    ];
    let networks = vec![
        (vec![spec("pixels", &[3, 4])], vec![spec("rows", &[2, 8])]),
        (vec![spec("rows", &[2, 8]), spec("actions", &[5, 6])], vec![spec("next", &[5, 6])]),
    ];
    (stages, networks, vec![spec("pixels", &[3, 4]), spec("actions", &[5, 6])])
}

fn join((stages, networks, host): &Pieces) -> Result<Graph, String> {
    let networks: Vec<_> = networks.iter().map(|(inputs, outputs)| (inputs.as_slice(), outputs.as_slice())).collect();
    Graph::build(stages, &networks, host, false).map_err(|error| error.to_string())
}

#[test]
fn inputs_are_found_by_name_and_the_loop_is_closed() {
    let graph = join(&two_stages()).expect("joins");
    let (next, actions) = (graph.find("next").expect("next"), graph.find("actions").expect("actions"));
    assert_eq!(graph.tensors[next].carried_to, Some(actions));
    assert_eq!(graph.tensors[actions].origin, TensorOrigin::Host);
    assert_eq!(graph.stages[1].inputs[0], ("rows".to_owned(), graph.find("rows").expect("rows")));
}

#[test]
fn a_renamed_tensor_joins_the_networks_name_with_the_policys() {
    let mut policy = two_stages();
    policy.1[0].1[0].name = "vit_output".into();
    let error = join(&policy).expect_err("no output named rows");
    assert!(error.contains("no output 'rows'; it has vit_output"), "{error}");
    policy.0[0].outputs[0].tensor = "vit_output".into();
    join(&policy).expect("joins once renamed");
}

#[test]
fn every_mismatch_is_reported_at_once() {
    let mut policy = two_stages();
    policy.1[0].0[0].dims = vec![Dim::Fixed(3), Dim::Fixed(5)];
    policy.0[0].inputs[0].dims = Some(vec![Dim::Fixed(3), Dim::Fixed(4)]);
    policy.0[1].inputs.push(input("state"));
    policy.1[1].0.push(spec("state", &[1]));
    policy.1[1].0.push(spec("surprise", &[1]));
    let error = join(&policy).expect_err("three problems");
    assert!(error.contains("'pixels': the stage describes [3, 4], the network has [3, 5]"), "{error}");
    assert!(error.contains("no earlier stage makes its input 'state'"), "{error}");
    assert!(error.contains("has an input 'surprise: f32 [1]' that the stage does not describe"), "{error}");
}

#[test]
fn another_element_type_between_two_stages_is_refused() {
    let mut policy = two_stages();
    policy.1[1].0[0].dtype = DType::F16;
    let error = join(&policy).expect_err("rows is f32");
    assert!(error.contains("reads 'rows' as f16 [2, 8], but it is f32 [2, 8]"), "{error}");
}

#[test]
fn a_loop_of_another_shape_and_a_stage_inside_the_group_are_refused() {
    let mut policy = two_stages();
    policy.1[1].1[0].dims = vec![Dim::Fixed(5), Dim::Fixed(7)];
    assert!(join(&policy).expect_err("shape").contains("cannot feed 'actions'"));

    let mut policy = two_stages();
    policy.0[1].outputs[0].feeds = Some("absent".into());
    assert!(join(&policy).expect_err("target").contains("feeds 'absent', which no stage reads"));

    let mut policy = two_stages();
    policy.0.push(stage("middle", false, vec![input("next")], vec![output("m")]));
    policy.1.push((vec![spec("next", &[5, 6])], vec![spec("m", &[1])]));
    policy.0.push(stage("again", true, vec![input("m")], vec![output("n")]));
    policy.1.push((vec![spec("m", &[1])], vec![spec("n", &[1])]));
    assert!(join(&policy).expect_err("group").contains("'middle' is between repeated stages"));
}

#[test]
fn a_symbol_without_a_value_is_named_with_those_that_have_one() {
    let spec = TensorSpec { name: "text".into(), dtype: DType::F32, dims: vec![Dim::Symbol("T".into())] };
    let symbols = Symbols::from([("S".to_owned(), 3)]);
    let error = resolve(&spec, &symbols).expect_err("T is unknown").to_string();
    assert!(error.contains("'text': dimension 'T' has no value; dimensions with a value: S"), "{error}");
}

#[test]
fn what_the_host_makes_is_read_in_several_types_and_with_a_batch_axis() {
    let (mut stages, mut networks, mut host) = two_stages();
    let masks = [("i", DType::I64, vec![1, 4]), ("b", DType::Bool, vec![4])];
    for (name, dtype, dims) in &masks {
        stages.insert(0, stage(name, false, vec![input("mask")], vec![output(&format!("of {name}"))]));
        let mask = TensorSpec { dtype: *dtype, ..spec("mask", dims) };
        networks.insert(0, (vec![mask], vec![spec(&format!("of {name}"), &[1])]));
    }
    host.push(TensorSpec { dtype: DType::I32, ..spec("mask", &[4]) });
    let graph = join(&(stages.clone(), networks.clone(), host.clone())).expect("joins");
    let found: Vec<&TensorSpec> = graph.find_all("mask").map(|at| &graph.tensors[at].spec).collect();
    assert_eq!(found.len(), 2, "a buffer for each: {found:?}");

    networks[0].0[0].dtype = DType::F32;
    let error = join(&(stages, networks, host)).expect_err("no conversion");
    assert!(error.contains("reads 'mask' as f32 [4], but the host makes i32 [4]"), "{error}");
}

#[test]
fn a_type_in_the_description_is_the_hosts_where_the_network_converts_and_the_networks_elsewhere() {
    let mut policy = two_stages();
    policy.0[0].inputs[0].dtype = Some(DType::F32);
    policy.1[0].0[0].dtype = DType::BF16;
    join(&policy).expect("pixels are converted on their way");
    policy.0[0].outputs[0].dtype = Some(DType::F32);
    policy.1[0].1[0].dtype = DType::BF16;
    let error = join(&policy).expect_err("rows are not");
    assert!(error.contains("tensor 'rows': the stage describes f32, the network has bf16"), "{error}");
    assert!(error.contains("reads 'rows' as f32 [2, 8], but it is bf16 [2, 8]; stages share the buffer"), "{error}");
}

#[test]
fn a_batch_axis_between_two_stages_is_refused() {
    let mut policy = two_stages();
    policy.1[1].0[0].dims.insert(0, Dim::Fixed(1));
    let error = join(&policy).expect_err("rows have no batch axis");
    assert!(error.contains("reads 'rows' as f32 [1, 2, 8], but it is f32 [2, 8]"), "{error}");
}

#[test]
fn a_tensor_that_closes_a_loop_is_read_in_one_type() {
    let with_reader = |dtype: DType| {
        let (mut stages, mut networks, host) = two_stages();
        stages.push(stage("reader", true, vec![input("actions")], vec![output("read")]));
        networks.push((vec![TensorSpec { dtype, ..spec("actions", &[5, 6]) }], vec![spec("read", &[1])]));
        join(&(stages, networks, host))
    };
    with_reader(DType::F32).expect("the same type");
    let error = with_reader(DType::F16).expect_err("two types");
    assert!(error.contains("'next' feeds 'actions', which stages read as f32 [5, 6] and as f16 [5, 6]"), "{error}");
}

#[test]
fn int64_of_a_description_is_int32_of_an_engine_kind_that_has_no_other() {
    let (mut stages, mut networks, mut host) = two_stages();
    host[0].dtype = DType::I32;
    stages[0].inputs[0].dtype = Some(DType::I64);
    networks[0].0[0].dtype = DType::I32;
    let join = |narrows: bool| {
        let networks: Vec<_> =
            networks.iter().map(|(inputs, outputs)| (inputs.as_slice(), outputs.as_slice())).collect();
        Graph::build(&stages, &networks, &host, narrows).map(drop).map_err(|error| error.to_string())
    };
    let error = join(false).expect_err("another type");
    assert!(error.contains("the stage describes i64, the network has i32"), "{error}");
    join(true).expect("TensorRT before 10");
}
