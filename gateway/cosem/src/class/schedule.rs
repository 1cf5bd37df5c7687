//! Classes of what happens when: 9 script table, 11 special days, 20 activity calendar, 22 single
//! action schedule (Blue Book 4.5). Whether a calendar makes sense is not judged here.

use bytes::Bytes;

use super::value::{class, codes, structure};
use super::values::Script;
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::Data;
use crate::datetime::{Date, DateTime, Time};

codes! {
    /// What an action of a script does.
    Service {
        /// Writes an attribute.
        1 Write,
        /// Executes a method.
        2 Execute,
    }
}

structure! {
    /// One action of a script.
    ScriptAction {
        /// What it does.
        service_id: Service,
        /// Class of the object.
        class_id: u16,
        /// Logical name of the object.
        logical_name: LogicalName,
        /// Attribute or method.
        index: i8,
        /// The value or the parameter.
        parameter: Data,
    }
}

structure! {
    /// A script.
    ScriptEntry {
        /// Its number.
        script_identifier: u16,
        /// What it does, in order.
        actions: Vec<ScriptAction>,
    }
}

/// Class 9.
pub mod script_table {
    use super::{Call, LogicalName, ScriptEntry, call, class};

    class! {
        /// Class 9, script table.
        ScriptTable, 9, "script table", versions 0 to 0;
        attributes {
            /// scripts.
            2 SCRIPTS scripts: Vec<ScriptEntry>,
        }
        methods {
            /// Method execute.
            1 EXECUTE "execute",
        }
    }

    /// Runs a script.
    #[must_use]
    pub fn execute(name: LogicalName, script: u16) -> Call {
        call(ID, name, EXECUTE, &script)
    }
}

structure! {
    /// A day that is not as its weekday.
    SpecialDay {
        /// Its number in the table.
        index: u16,
        /// The date; parts may be left open.
        specialday_date: Date,
        /// The day profile that holds on it.
        day_id: u8,
    }
}

/// Class 11.
pub mod special_days {
    use super::{Call, LogicalName, SpecialDay, call, class};

    class! {
        /// Class 11, special days table.
        SpecialDays, 11, "special days table", versions 0 to 0;
        attributes {
            /// entries.
            2 ENTRIES entries: Vec<SpecialDay>,
        }
        methods {
            /// Method insert.
            1 INSERT "insert",
            /// Method delete.
            2 DELETE "delete",
        }
    }

    /// Puts a day in; one of the same number is replaced.
    #[must_use]
    pub fn insert(name: LogicalName, day: &SpecialDay) -> Call {
        call(ID, name, INSERT, day)
    }

    /// Takes a day out.
    #[must_use]
    pub fn delete(name: LogicalName, index: u16) -> Call {
        call(ID, name, DELETE, &index)
    }
}

structure! {
    /// A season of the calendar.
    Season {
        /// Its name.
        season_profile_name: Bytes,
        /// When it begins.
        season_start: DateTime,
        /// The week that holds in it.
        week_name: Bytes,
    }
}

structure! {
    /// A week of the calendar: the day profile of each weekday.
    Week {
        /// Its name.
        week_profile_name: Bytes,
        /// Day profile of Monday.
        monday: u8,
        /// Day profile of Tuesday.
        tuesday: u8,
        /// Day profile of Wednesday.
        wednesday: u8,
        /// Day profile of Thursday.
        thursday: u8,
        /// Day profile of Friday.
        friday: u8,
        /// Day profile of Saturday.
        saturday: u8,
        /// Day profile of Sunday.
        sunday: u8,
    }
}

structure! {
    /// What happens at a time of a day.
    DayAction {
        /// When.
        start_time: Time,
        /// The script table.
        script_logical_name: LogicalName,
        /// Which script of it.
        script_selector: u16,
    }
}

structure! {
    /// A day profile.
    Day {
        /// Its number.
        day_id: u8,
        /// What happens, in order of time.
        day_schedule: Vec<DayAction>,
    }
}

/// Class 20.
pub mod activity_calendar {
    use super::{Bytes, Call, DateTime, Day, LogicalName, Season, Week, call, class};

    class! {
        /// Class 20, activity calendar.
        ActivityCalendar, 20, "activity calendar", versions 0 to 0;
        attributes {
            /// calendar_name_active.
            2 NAME_ACTIVE calendar_name_active: Bytes,
            /// season_profile_active.
            3 SEASONS_ACTIVE season_profile_active: Vec<Season>,
            /// week_profile_table_active.
            4 WEEKS_ACTIVE week_profile_table_active: Vec<Week>,
            /// day_profile_table_active.
            5 DAYS_ACTIVE day_profile_table_active: Vec<Day>,
            /// calendar_name_passive.
            6 NAME_PASSIVE calendar_name_passive: Bytes,
            /// season_profile_passive.
            7 SEASONS_PASSIVE season_profile_passive: Vec<Season>,
            /// week_profile_table_passive.
            8 WEEKS_PASSIVE week_profile_table_passive: Vec<Week>,
            /// day_profile_table_passive.
            9 DAYS_PASSIVE day_profile_table_passive: Vec<Day>,
            /// activate_passive_calendar_time.
            10 ACTIVATE_TIME activate_passive_calendar_time: DateTime,
        }
        methods {
            /// Method activate_passive_calendar.
            1 ACTIVATE_PASSIVE "activate_passive_calendar",
        }
    }

    /// Makes the passive calendar the active one, now.
    #[must_use]
    pub fn activate_passive_calendar(name: LogicalName) -> Call {
        call(ID, name, ACTIVATE_PASSIVE, &0i8)
    }
}

codes! {
    /// How the execution times of a schedule are read.
    ScheduleType {
        /// One entry, its date may hold wildcards.
        1 OneWithWildcards,
        /// Several entries of one time, dates may hold wildcards.
        2 OneTimeWithWildcards,
        /// Several entries of one time, no wildcards.
        3 OneTime,
        /// Several entries of different times, dates may hold wildcards.
        4 TimesWithWildcards,
        /// Several entries of different times, no wildcards.
        5 Times,
    }
}

structure! {
    /// A moment, parts of which may be left open.
    ExecutionTime {
        /// Time of the day.
        time: Time,
        /// Date.
        date: Date,
    }
}

/// Class 22.
pub mod single_action {
    use super::{ExecutionTime, ScheduleType, Script, class};

    class! {
        /// Class 22, single action schedule.
        SingleActionSchedule, 22, "single action schedule", versions 0 to 0;
        attributes {
            /// executed_script.
            2 EXECUTED_SCRIPT executed_script: Script,
            /// type.
            3 TYPE schedule_type: ScheduleType,
            /// execution_time.
            4 EXECUTION_TIME execution_time: Vec<ExecutionTime>,
        }
        methods {}
    }
}
