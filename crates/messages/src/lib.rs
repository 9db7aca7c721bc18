//! ROS 2 messages without ROS: borrowed views of serialized messages, and writers that serialize them.
//!
//! Input: the bytes of a topic or a bag, plain CDR (XCDR1) with its 4-byte encapsulation header, little- or big-endian. A view
//! checks every length against the bytes, and copies and allocates nothing; an image row is converted when it is read
//! ([`Pixels::row_rgb`]). [`FrameDecoder`] decodes JPEG and PNG to the pixels that OpenCV and Pillow give.
//!
//! Output: CDR bytes ([`mod@write`], [`ActionChunkMessage`], [`JointTrajectoryMessage`]), the same from the node and a replay, and
//! the message definitions for bags ([`schema`]).
//!
//! ```
//! use vla_base::time::Stamp;
//! use vla_messages::{HeaderView, ImageView, write};
//!
//! let header = HeaderView { stamp: Stamp::from_nanos(1_000_000_020), frame_id: "top" };
//! let bytes = write::image(header, 2, 1, "bgr8", 6, &[1, 2, 3, 4, 5, 6]);
//!
//! let image = ImageView::parse(&bytes)?;
//! assert_eq!(image.header, header);
//! assert_eq!(image.pixels()?.row_rgb(0, &mut [0; 6]), [3, 2, 1, 6, 5, 4]);
//! # Ok::<(), vla_messages::Error>(())
//! ```

mod action_chunk;
mod bayer;
pub mod cdr;
mod compressed_image;
mod error;
mod frame_decoder;
mod header;
mod image;
mod joint_state;
mod joint_trajectory;
mod jpeg;
mod odometry;
mod orientation;
mod pixels;
mod pose;
mod pose_stamped;
pub mod schema;
mod text;
mod transforms;
pub mod write;
mod yuv;

pub use action_chunk::ActionChunkMessage;
pub use bayer::BayerPattern;
pub use compressed_image::{CompressedImageView, FrameHeader};
pub use error::Error;
pub use frame_decoder::FrameDecoder;
pub use header::{HeaderView, header_stamp, sample_stamp};
pub use image::ImageView;
pub use joint_state::JointStateView;
pub use joint_trajectory::{JointTrajectoryMessage, TrajectoryPoint};
pub use odometry::OdometryView;
pub use pixels::{MAX_PIXELS, PixelFormat, Pixels};
pub use pose::QUATERNION_TOLERANCE;
pub use pose_stamped::PoseStampedView;
pub use text::text;
pub use transforms::{TfMessageView, TransformView};
