//! Classes of a device's network: 41 TCP-UDP setup, 42 IPv4 setup, 45 GPRS modem setup (Blue Book
//! 4.7, 4.9). The head-end's own sockets are not described by them.

use bytes::Bytes;

use super::value::{class, structure};
use super::{Call, call};
use crate::apdu::LogicalName;

/// Class 41.
pub mod tcp_udp_setup {
    use super::{LogicalName, class};

    class! {
        /// Class 41, TCP-UDP setup.
        TcpUdpSetup, 41, "TCP-UDP setup", versions 0 to 0;
        attributes {
            /// TCP-UDP_port; 4059 as registered.
            2 PORT port: u16,
            /// IP_reference.
            3 IP_REFERENCE ip_reference: LogicalName,
            /// MSS, octets.
            4 MSS mss: u16,
            /// nb_of_sim_conn.
            5 CONNECTIONS nb_of_sim_conn: u8,
            /// inactivity_time_out, seconds; 0 never.
            6 INACTIVITY inactivity_time_out: u16,
        }
        methods {}
    }
}

structure! {
    /// An option of IP.
    IpOption {
        /// Its type.
        ip_option_type: u8,
        /// Its length, octets.
        ip_option_length: u8,
        /// Its octets.
        ip_option_data: Bytes,
    }
}

/// Class 42.
pub mod ipv4_setup {
    use super::{Call, IpOption, LogicalName, call, class};

    class! {
        /// Class 42, IPv4 setup. Addresses are numbers, the first octet the highest.
        Ipv4Setup, 42, "IPv4 setup", versions 0 to 0;
        attributes {
            /// DL_reference.
            2 DL_REFERENCE dl_reference: LogicalName,
            /// IP_address.
            3 ADDRESS ip_address: u32,
            /// multicast_IP_address.
            4 MULTICAST multicast_ip_address: Vec<u32>,
            /// IP_options.
            5 OPTIONS ip_options: Vec<IpOption>,
            /// subnet_mask.
            6 SUBNET_MASK subnet_mask: u32,
            /// gateway_IP_address.
            7 GATEWAY gateway_ip_address: u32,
            /// use_DHCP_flag.
            8 USE_DHCP use_dhcp_flag: bool,
            /// primary_DNS_address.
            9 PRIMARY_DNS primary_dns_address: u32,
            /// secondary_DNS_address.
            10 SECONDARY_DNS secondary_dns_address: u32,
        }
        methods {
            /// Method add_mc_IP_address.
            1 ADD_MULTICAST "add_mc_IP_address",
            /// Method delete_mc_IP_address.
            2 DELETE_MULTICAST "delete_mc_IP_address",
            /// Method get_nbof_mc_IP_addresses.
            3 COUNT_MULTICAST "get_nbof_mc_IP_addresses",
        }
    }

    /// Adds a multicast address.
    #[must_use]
    pub fn add_mc_ip_address(name: LogicalName, address: u32) -> Call {
        call(ID, name, ADD_MULTICAST, &address)
    }

    /// Takes a multicast address away.
    #[must_use]
    pub fn delete_mc_ip_address(name: LogicalName, address: u32) -> Call {
        call(ID, name, DELETE_MULTICAST, &address)
    }

    /// Asks for the number of multicast addresses.
    #[must_use]
    pub fn get_nbof_mc_ip_addresses(name: LogicalName) -> Call {
        call(ID, name, COUNT_MULTICAST, &0i8)
    }
}

structure! {
    /// Quality of a GPRS service.
    GprsQuality {
        /// Precedence.
        precedence: u8,
        /// Delay.
        delay: u8,
        /// Reliability.
        reliability: u8,
        /// Peak throughput.
        peak_throughput: u8,
        /// Mean throughput.
        mean_throughput: u8,
    }
}

structure! {
    /// Quality as it is by default, and as it is asked for.
    GprsQualities {
        /// By default.
        default_quality: GprsQuality,
        /// Asked for.
        requested_quality: GprsQuality,
    }
}

/// Class 45.
pub mod gprs_setup {
    use super::{Bytes, GprsQualities, class};

    class! {
        /// Class 45, GPRS modem setup.
        GprsSetup, 45, "GPRS modem setup", versions 0 to 0;
        attributes {
            /// APN.
            2 APN apn: Bytes,
            /// PIN_code.
            3 PIN pin_code: u16,
            /// quality_of_service.
            4 QUALITY quality_of_service: GprsQualities,
        }
        methods {}
    }
}
