//! ROS 2 messages as serialized bytes: borrowed views of what comes in, writers of what goes out.
//!
//! A topic and a bag deliver the same bytes (plain CDR, XCDR1, with its 4-byte encapsulation header), so one set of
//! views serves both. A view checks every length against the bytes that are there, copies nothing and allocates
//! nothing; image data stay where they are until a row is asked for ([`Pixels::row_rgb`]). Outgoing messages are
//! written here too, so that the node and a replay emit identical bytes.
//!
//! ```
//! use vla_trt::message::{HeaderView, ImageView, write};
//! use vla_trt::time::Stamp;
//!
//! let header = HeaderView { stamp: Stamp::from_nanos(1_000_000_020), frame_id: "top" };
//! let bytes = write::image(header, 2, 1, "bgr8", 6, &[1, 2, 3, 4, 5, 6]);
//!
//! let image = ImageView::parse(&bytes)?;
//! assert_eq!(image.header, header);
//! assert_eq!(image.pixels()?.row_rgb(0, &mut [0; 6]), [3, 2, 1, 6, 5, 4]);
//! # Ok::<(), vla_trt::message::Error>(())
//! ```

mod action_chunk;
pub mod cdr;
mod compressed_image;
mod error;
mod frame_decoder;
mod header;
mod image;
mod joint_state;
mod joint_trajectory;
mod jpeg;
mod pixels;
mod pose_stamped;
pub mod schema;
mod text;
pub mod write;
mod yuv;

pub use action_chunk::ActionChunkMessage;
pub use compressed_image::{CompressedImageView, FrameHeader};
pub use error::Error;
pub use frame_decoder::FrameDecoder;
pub use header::{HeaderView, header_stamp};
pub use image::ImageView;
pub use joint_state::JointStateView;
pub use joint_trajectory::{JointTrajectoryMessage, TrajectoryPoint};
pub use pixels::{MAX_PIXELS, PixelFormat, Pixels};
pub use pose_stamped::{PoseStampedView, QUATERNION_TOLERANCE};
pub use text::text;
