//! Classes of the supply: 70 disconnect control, 71 limiter (Blue Book 4.5.8, 4.5.9). Who may
//! order a switch is not decided here.

use super::value::{class, codes, structure};
use super::values::{MonitoredValue, Script};
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::Data;
use crate::datetime::DateTime;

codes! {
    /// What the switch stands at.
    ControlState {
        /// Disconnected.
        0 Disconnected,
        /// Connected.
        1 Connected,
        /// Ready for reconnection: the button connects.
        2 Ready,
    }
}

codes! {
    /// Who may disconnect and reconnect.
    ControlMode {
        /// Always connected.
        0 None,
        /// Remote and manual disconnect; remote reconnect arms the button.
        1 RemoteManualArm,
        /// Remote and manual disconnect; remote reconnect acts at once.
        2 RemoteManualAct,
        /// Remote disconnect; remote reconnect arms the button.
        3 RemoteArm,
        /// Remote disconnect; remote reconnect acts at once.
        4 RemoteAct,
        /// As 1, and local reconnect.
        5 RemoteManualArmLocal,
        /// As 3, and local reconnect.
        6 RemoteArmLocal,
        /// As 4, and local reconnect.
        7 RemoteActLocal,
    }
}

impl ControlMode {
    /// Whether a remote reconnect connects at once; otherwise it arms the button.
    #[must_use]
    pub const fn reconnects_at_once(self) -> bool {
        matches!(self, Self::RemoteManualAct | Self::RemoteAct | Self::RemoteActLocal)
    }
}

/// Class 70.
pub mod disconnect_control {
    use super::{Call, ControlMode, ControlState, LogicalName, call, class};

    class! {
        /// Class 70, disconnect control.
        DisconnectControl, 70, "disconnect control", versions 0 to 0;
        attributes {
            /// output_state: true when connected.
            2 OUTPUT_STATE output_state: bool,
            /// control_state.
            3 CONTROL_STATE control_state: ControlState,
            /// control_mode.
            4 CONTROL_MODE control_mode: ControlMode,
        }
        methods {
            /// Method remote_disconnect.
            1 REMOTE_DISCONNECT "remote_disconnect",
            /// Method remote_reconnect.
            2 REMOTE_RECONNECT "remote_reconnect",
        }
    }

    /// Opens the switch.
    #[must_use]
    pub fn remote_disconnect(name: LogicalName) -> Call {
        call(ID, name, REMOTE_DISCONNECT, &0i8)
    }

    /// Closes the switch, or arms its button, as the control mode says.
    #[must_use]
    pub fn remote_reconnect(name: LogicalName) -> Call {
        call(ID, name, REMOTE_RECONNECT, &0i8)
    }
}

structure! {
    /// Other limits for a while.
    EmergencyProfile {
        /// Which groups are meant.
        emergency_profile_id: u16,
        /// From when on.
        emergency_activation_time: DateTime,
        /// For so many seconds.
        emergency_duration: u32,
    }
}

structure! {
    /// What to do when the limit is passed.
    LimiterActions {
        /// Above the threshold for the minimal time.
        action_over_threshold: Script,
        /// Under it for the minimal time.
        action_under_threshold: Script,
    }
}

/// Class 71.
pub mod limiter {
    use super::{Data, EmergencyProfile, LimiterActions, MonitoredValue, class};

    class! {
        /// Class 71, limiter.
        Limiter, 71, "limiter", versions 0 to 0;
        attributes {
            /// monitored_value.
            2 MONITORED_VALUE monitored_value: MonitoredValue,
            /// threshold_active, of the type of the value.
            3 THRESHOLD_ACTIVE threshold_active: Data,
            /// threshold_normal.
            4 THRESHOLD_NORMAL threshold_normal: Data,
            /// threshold_emergency.
            5 THRESHOLD_EMERGENCY threshold_emergency: Data,
            /// min_over_threshold_duration, seconds.
            6 MIN_OVER min_over_threshold_duration: u32,
            /// min_under_threshold_duration, seconds.
            7 MIN_UNDER min_under_threshold_duration: u32,
            /// emergency_profile.
            8 EMERGENCY_PROFILE emergency_profile: EmergencyProfile,
            /// emergency_profile_group_id_list.
            9 GROUPS emergency_profile_group_id_list: Vec<u16>,
            /// emergency_profile_active.
            10 EMERGENCY_ACTIVE emergency_profile_active: bool,
            /// actions.
            11 ACTIONS actions: LimiterActions,
        }
        methods {}
    }
}
