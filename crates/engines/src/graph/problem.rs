//! What can be wrong with a graph of stages.

use std::fmt;
use std::path::PathBuf;

use crate::profile::Profile;
use vla_base::tensor::{DType, Dim, TensorSpec, display_dims};

/// Element type and dimensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeAndShape {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<Dim>,
}

impl TypeAndShape {
    pub(super) fn of(spec: &TensorSpec) -> Self {
        Self { dtype: spec.dtype, dims: spec.dims.clone() }
    }
}

impl fmt::Display for TypeAndShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, display_dims(&self.dims))
    }
}

/// Side of a network that a tensor is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Read by the network.
    Input,
    /// Written by the network.
    Output,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// One reason why stages do not form a pipeline.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Problem {
    /// The network has an input that its stage does not describe.
    #[error("stage '{stage}': the network has an input '{input}' that the stage does not describe")]
    UndescribedInput {
        /// The stage.
        stage: String,
        /// The network's input.
        input: TensorSpec,
    },
    /// The network lacks a tensor that its stage describes.
    #[error("stage '{stage}': {} has no {role} '{tensor}'; it has {}", file.display(), found.join(", "))]
    MissingTensor {
        /// The stage.
        stage: String,
        /// The network or engine.
        file: PathBuf,
        /// Whether an input or an output is missing.
        role: Role,
        /// Name of the described tensor.
        tensor: String,
        /// Names of the network's tensors of this role.
        found: Vec<String>,
    },
    /// Two tensors have one name.
    #[error("stage '{stage}': a tensor named '{output}' exists already, so no output can have this name")]
    DuplicateOutput {
        /// Stage of the second.
        stage: String,
        /// The name.
        output: String,
    },
    /// Description and network differ in the element type.
    #[error("stage '{stage}', tensor '{tensor}': the stage describes {described}, the network has {network}")]
    DescribedType {
        /// The stage.
        stage: String,
        /// The network's name of the tensor.
        tensor: String,
        /// Described element type.
        described: DType,
        /// Element type in the network.
        network: DType,
    },
    /// Description and network differ in the dimensions.
    #[error(
        "stage '{stage}', tensor '{tensor}': the stage describes {}, the network has {}",
        display_dims(described),
        display_dims(network)
    )]
    DescribedShape {
        /// The stage.
        stage: String,
        /// The network's name of the tensor.
        tensor: String,
        /// Described dimensions.
        described: Vec<Dim>,
        /// Dimensions in the network.
        network: Vec<Dim>,
    },
    /// A stage reads the output of another in a different type or shape.
    #[error(
        "stage '{stage}' reads '{input}' as {read}, but it is {made}; stages share the buffer, so type and dimensions must \
         be equal"
    )]
    BetweenStages {
        /// The reading stage.
        stage: String,
        /// The pipeline's name of the tensor.
        input: String,
        /// How the stage reads it.
        read: TypeAndShape,
        /// How it was made.
        made: TypeAndShape,
    },
    /// An input has no producer.
    #[error("stage '{stage}': no earlier stage makes its input '{input}'; the host offers {}", host.join(", "))]
    NoProducer {
        /// The stage.
        stage: String,
        /// The pipeline's name of the input.
        input: String,
        /// Names that the host offers.
        host: Vec<String>,
    },
    /// The host makes an input in a type or shape that does not convert.
    #[error("stage '{stage}' reads '{input}' as {read}, but the host makes {made}")]
    HostInput {
        /// The stage.
        stage: String,
        /// The pipeline's name of the input.
        input: String,
        /// How the stage reads it.
        read: TypeAndShape,
        /// How the host makes it.
        made: TypeAndShape,
    },
    /// A loop-carried output names a tensor that no stage reads.
    #[error("stage '{stage}': output '{output}' feeds '{target}', which no stage reads")]
    LoopTarget {
        /// The stage.
        stage: String,
        /// Its output.
        output: String,
        /// The tensor that takes its value in the next iteration.
        target: String,
    },
    /// A loop-carried output of a stage outside the loop.
    #[error("stage '{stage}': output '{output}' feeds '{target}', but the stage does not repeat")]
    LoopOutsideGroup {
        /// The stage.
        stage: String,
        /// Its output.
        output: String,
        /// The tensor that takes its value in the next iteration.
        target: String,
    },
    /// A loop-carried output and its target differ in type or shape.
    #[error("stage '{stage}': '{output}' ({made}) cannot feed '{target}' ({read})")]
    LoopShape {
        /// The stage.
        stage: String,
        /// Its output.
        output: String,
        /// How the output is made.
        made: TypeAndShape,
        /// The tensor that takes its value in the next iteration.
        target: String,
        /// How the target is read.
        read: TypeAndShape,
    },
    /// The target of a loop-carried output is read in several types or shapes.
    #[error(
        "'{output}' feeds '{target}', which stages read as {}; they must read it in one type and shape",
        read.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and as ")
    )]
    LoopTypes {
        /// The loop-carried output.
        output: String,
        /// Its target.
        target: String,
        /// How the stages read the target.
        read: Vec<TypeAndShape>,
    },
    /// The repeated stages are not consecutive.
    #[error("stage '{stage}' is between repeated stages but does not repeat")]
    GroupGap {
        /// The stage that interrupts them.
        stage: String,
    },
    /// Constants for each iteration, in a stage that runs once.
    #[error("stage '{stage}': input '{input}' has constants for each iteration, but the stage does not repeat")]
    ConstantsOutsideGroup {
        /// The stage.
        stage: String,
        /// The pipeline's name of the input.
        input: String,
    },
    /// An optimisation profile without `min <= opt <= max`.
    #[error("stage '{stage}', input '{input}': the engine's profile {profile} is not ordered (min <= opt <= max)")]
    UnorderedProfile {
        /// The stage.
        stage: String,
        /// The engine's name of the input.
        input: String,
        /// The profile.
        profile: Profile,
    },
    /// An optimisation profile that is narrower than the sizes that the stage describes.
    #[error("stage '{stage}', input '{input}': the engine's profile accepts {built}, the policy needs {required}")]
    NarrowProfile {
        /// The stage.
        stage: String,
        /// The engine's name of the input.
        input: String,
        /// Smallest and largest dimensions of the profile.
        built: String,
        /// Dimensions of the description, with the range of each symbol.
        required: String,
    },
}
