//! Message definitions for the schemas of MCAP bags (encoding "ros2msg"): the fields of the type, then those of every nested
//! type, as rosbag2 writes them, so that other tools read the bags without this package.

/// Separator of the parts of a definition.
macro_rules! rule {
    () => {
        "================================================================================\n"
    };
}

macro_rules! header {
    () => {
        concat!(rule!(), "MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n", time!())
    };
}

macro_rules! time {
    () => {
        concat!(rule!(), "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n")
    };
}

macro_rules! duration {
    () => {
        concat!(rule!(), "MSG: builtin_interfaces/Duration\nint32 sec\nuint32 nanosec\n")
    };
}

const ACTION_CHUNK: &str = concat!(include_str!("../../../msg/ActionChunk.msg"), header!(), duration!());

const JOINT_TRAJECTORY: &str = concat!(
    "std_msgs/Header header\nstring[] joint_names\nJointTrajectoryPoint[] points\n",
    header!(),
    rule!(),
    "MSG: trajectory_msgs/JointTrajectoryPoint\n",
    "float64[] positions\nfloat64[] velocities\nfloat64[] accelerations\nfloat64[] effort\n",
    "builtin_interfaces/Duration time_from_start\n",
    duration!(),
);

const IMAGE: &str = concat!(
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n",
    "uint8[] data\n",
    header!(),
);

const COMPRESSED_IMAGE: &str = concat!("std_msgs/Header header\nstring format\nuint8[] data\n", header!());

const JOINT_STATE: &str = concat!(
    "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
    header!(),
);

macro_rules! point {
    () => {
        concat!(rule!(), "MSG: geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z\n")
    };
}

macro_rules! quaternion {
    () => {
        concat!(rule!(), "MSG: geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n")
    };
}

macro_rules! vector3 {
    () => {
        concat!(rule!(), "MSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n")
    };
}

macro_rules! pose {
    () => {
        concat!(rule!(), "MSG: geometry_msgs/Pose\nPoint position\nQuaternion orientation\n", point!(), quaternion!())
    };
}

const POSE_STAMPED: &str = concat!("std_msgs/Header header\nPose pose\n", header!(), pose!());

const ODOMETRY: &str = concat!(
    "std_msgs/Header header\nstring child_frame_id\n",
    "geometry_msgs/PoseWithCovariance pose\ngeometry_msgs/TwistWithCovariance twist\n",
    header!(),
    rule!(),
    "MSG: geometry_msgs/PoseWithCovariance\nPose pose\nfloat64[36] covariance\n",
    pose!(),
    rule!(),
    "MSG: geometry_msgs/TwistWithCovariance\nTwist twist\nfloat64[36] covariance\n",
    rule!(),
    "MSG: geometry_msgs/Twist\nVector3 linear\nVector3 angular\n",
    vector3!(),
);

const TF_MESSAGE: &str = concat!(
    "geometry_msgs/TransformStamped[] transforms\n",
    rule!(),
    "MSG: geometry_msgs/TransformStamped\nstd_msgs/Header header\nstring child_frame_id\nTransform transform\n",
    header!(),
    rule!(),
    "MSG: geometry_msgs/Transform\nVector3 translation\nQuaternion rotation\n",
    vector3!(),
    quaternion!(),
);

/// The complete definition of a type that this crate writes, e.g. "vla_trt/msg/ActionChunk".
pub fn text(type_name: &str) -> Option<&'static str> {
    match type_name {
        "vla_trt/msg/ActionChunk" => Some(ACTION_CHUNK),
        "trajectory_msgs/msg/JointTrajectory" => Some(JOINT_TRAJECTORY),
        "sensor_msgs/msg/Image" => Some(IMAGE),
        "sensor_msgs/msg/CompressedImage" => Some(COMPRESSED_IMAGE),
        "sensor_msgs/msg/JointState" => Some(JOINT_STATE),
        "geometry_msgs/msg/PoseStamped" => Some(POSE_STAMPED),
        "nav_msgs/msg/Odometry" => Some(ODOMETRY),
        "tf2_msgs/msg/TFMessage" => Some(TF_MESSAGE),
        "std_msgs/msg/String" => Some("string data\n"),
        _ => None,
    }
}
