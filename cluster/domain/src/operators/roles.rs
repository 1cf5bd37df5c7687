//! What people may do, and the roles that bundle it. The table here is the one that
//! `docs/reference/roles.md` shows.

use serde::{Deserialize, Serialize};

/// What a person or program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Permission {
    /// See devices, channels, collection, commands and the cluster.
    Look,
    /// See stored values: personal data.
    Readings,
    /// Read devices on demand.
    Read,
    /// Open and close supply switches.
    Control,
    /// Write to devices, set their clocks.
    Configure,
    /// Move a concentrator's channel.
    Channels,
    /// Register, retire and place devices; first keys with them.
    Assets,
    /// Replace keys.
    Keys,
    /// Correct and estimate values.
    Correct,
    /// Set parameters of the cluster.
    Parameters,
    /// Change the cluster: members, leadership, drills.
    Cluster,
    /// Take backups and look into what nodes hold.
    Backup,
    /// Keep operators, their roles and regions.
    Operators,
    /// Be the second person for a grant or a plan of drills.
    Approve,
    /// Read the audit trail.
    Audit,
    /// Plan what is read when.
    Tasks,
    /// See customers, their addresses and contracts: personal data.
    Customers,
    /// Keep customers and contracts.
    Contracts,
    /// Follow alarms, and be the monitor that tells of them.
    Watch,
    /// Carry out drills as their plans were approved.
    Drills,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 20] = [
        Permission::Look,
        Permission::Readings,
        Permission::Read,
        Permission::Control,
        Permission::Configure,
        Permission::Channels,
        Permission::Assets,
        Permission::Keys,
        Permission::Correct,
        Permission::Parameters,
        Permission::Cluster,
        Permission::Backup,
        Permission::Operators,
        Permission::Approve,
        Permission::Audit,
        Permission::Tasks,
        Permission::Customers,
        Permission::Contracts,
        Permission::Watch,
        Permission::Drills,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Look => "look",
            Permission::Readings => "readings",
            Permission::Read => "read",
            Permission::Control => "control",
            Permission::Configure => "configure",
            Permission::Channels => "channels",
            Permission::Assets => "assets",
            Permission::Keys => "keys",
            Permission::Correct => "correct",
            Permission::Parameters => "parameters",
            Permission::Cluster => "cluster",
            Permission::Backup => "backup",
            Permission::Operators => "operators",
            Permission::Approve => "approve",
            Permission::Audit => "audit",
            Permission::Tasks => "tasks",
            Permission::Customers => "customers",
            Permission::Contracts => "contracts",
            Permission::Watch => "watch",
            Permission::Drills => "drills",
        }
    }
}

/// A bundle of permissions, granted for a region and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Watches the day and reads on demand.
    Operator,
    /// Switches supplies.
    Dispatcher,
    /// Keeps devices.
    MeteringEngineer,
    /// Looks after values.
    RevenueAnalyst,
    /// Keeps vendors.
    VendingSupervisor,
    /// Sells.
    Vendor,
    /// Reads all, changes nothing.
    Auditor,
    /// Keeps keys and is the second person.
    SecurityOfficer,
    /// Keeps operators, parameters and the cluster; changes no data of the business.
    Administrator,
    /// A monitoring server: a program, not a person.
    Monitor,
    /// Carries out drills that were approved: a program, not a person.
    Driller,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 11] = [
        Role::Operator,
        Role::Dispatcher,
        Role::MeteringEngineer,
        Role::RevenueAnalyst,
        Role::VendingSupervisor,
        Role::Vendor,
        Role::Auditor,
        Role::SecurityOfficer,
        Role::Administrator,
        Role::Monitor,
        Role::Driller,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Dispatcher => "dispatcher",
            Role::MeteringEngineer => "metering_engineer",
            Role::RevenueAnalyst => "revenue_analyst",
            Role::VendingSupervisor => "vending_supervisor",
            Role::Vendor => "vendor",
            Role::Auditor => "auditor",
            Role::SecurityOfficer => "security_officer",
            Role::Administrator => "administrator",
            Role::Monitor => "monitor",
            Role::Driller => "driller",
        }
    }

    /// The role of a word.
    pub fn of(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What it may.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Role::Operator => &[P::Look, P::Readings, P::Read, P::Channels, P::Customers],
            Role::Dispatcher => {
                &[P::Look, P::Readings, P::Read, P::Control, P::Channels, P::Customers]
            }
            Role::MeteringEngineer => &[
                P::Look,
                P::Readings,
                P::Read,
                P::Configure,
                P::Channels,
                P::Assets,
                P::Correct,
                P::Tasks,
                P::Customers,
            ],
            Role::RevenueAnalyst => &[P::Look, P::Readings, P::Correct, P::Customers, P::Contracts],
            Role::VendingSupervisor => &[P::Look, P::Readings, P::Customers, P::Contracts],
            Role::Vendor => &[],
            Role::Auditor => &[P::Look, P::Readings, P::Audit, P::Customers],
            Role::Monitor => &[P::Look, P::Watch],
            Role::Driller => &[P::Look, P::Drills],
            Role::SecurityOfficer => &[P::Look, P::Keys, P::Approve, P::Audit],
            Role::Administrator => &[
                P::Look,
                P::Parameters,
                P::Cluster,
                P::Backup,
                P::Operators,
                P::Approve,
                P::Audit,
                P::Drills,
            ],
        }
    }

    /// Whether a grant of it waits for a second person: it adds control, keys, money or rights.
    pub fn needs_two(self) -> bool {
        matches!(
            self,
            Role::Dispatcher
                | Role::MeteringEngineer
                | Role::VendingSupervisor
                | Role::SecurityOfficer
                | Role::Administrator
        )
    }
}
