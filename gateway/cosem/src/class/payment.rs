//! Classes of payment metering: 111 account, 112 credit, 113 charge, 115 token gateway (Blue Book
//! 4.6). Amounts are integers in the account's currency; nothing is reckoned here.

use bytes::Bytes;

use super::value::{Utf8Text, class, codes, structure};
use super::values::MonitoredValue;
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::BitString;
use crate::datetime::DateTime;

codes! {
    /// Who pays when.
    AccountMode {
        /// Credit: billed afterwards.
        1 Credit,
        /// Prepayment.
        2 Prepayment,
    }
}

codes! {
    /// Whether an account is in use.
    AccountStatus {
        /// New, not active.
        1 Inactive,
        /// Active.
        2 Active,
        /// Closed.
        3 Closed,
    }
}

structure! {
    /// Mode and status of an account.
    ModeAndStatus {
        /// Who pays when.
        account_mode: AccountMode,
        /// Whether it is in use.
        account_status: AccountStatus,
    }
}

structure! {
    /// Which credit pays which charge.
    CreditCharge {
        /// The credit.
        credit_reference: LogicalName,
        /// The charge.
        charge_reference: LogicalName,
        /// When the charge is collected.
        collection_configuration: BitString,
    }
}

structure! {
    /// Which part of a token goes to a credit.
    TokenShare {
        /// The credit.
        credit_reference: LogicalName,
        /// Percent.
        token_proportion: u8,
    }
}

codes! {
    /// What an amount counts.
    CurrencyUnit {
        /// Time.
        0 Time,
        /// Consumption.
        1 Consumption,
        /// Money.
        2 Monetary,
    }
}

structure! {
    /// The currency of an account.
    Currency {
        /// Its name.
        currency_name: Utf8Text,
        /// Power of ten of an amount.
        currency_scale: i8,
        /// What an amount counts.
        currency_unit: CurrencyUnit,
    }
}

/// Class 111.
pub mod account {
    use super::{
        BitString, Call, CreditCharge, Currency, DateTime, LogicalName, ModeAndStatus, TokenShare,
        call, class,
    };

    class! {
        /// Class 111, account.
        Account, 111, "account", versions 0 to 0;
        attributes {
            /// account_mode_and_status.
            2 MODE_AND_STATUS account_mode_and_status: ModeAndStatus,
            /// current_credit_in_use: place in the list of credits.
            3 CREDIT_IN_USE current_credit_in_use: u8,
            /// current_credit_status.
            4 CREDIT_STATUS current_credit_status: BitString,
            /// available_credit.
            5 AVAILABLE_CREDIT available_credit: i32,
            /// amount_to_clear.
            6 AMOUNT_TO_CLEAR amount_to_clear: i32,
            /// clearance_threshold.
            7 CLEARANCE_THRESHOLD clearance_threshold: i32,
            /// aggregated_debt.
            8 AGGREGATED_DEBT aggregated_debt: i32,
            /// credit_reference_list.
            9 CREDITS credit_reference_list: Vec<LogicalName>,
            /// charge_reference_list.
            10 CHARGES charge_reference_list: Vec<LogicalName>,
            /// credit_charge_configuration.
            11 CONFIGURATION credit_charge_configuration: Vec<CreditCharge>,
            /// token_gateway_configuration.
            12 TOKEN_GATEWAY token_gateway_configuration: Vec<TokenShare>,
            /// account_activation_time.
            13 ACTIVATION_TIME account_activation_time: DateTime,
            /// account_closure_time.
            14 CLOSURE_TIME account_closure_time: DateTime,
            /// currency.
            15 CURRENCY currency: Currency,
            /// low_credit_threshold.
            16 LOW_CREDIT low_credit_threshold: i32,
            /// next_credit_available_threshold.
            17 NEXT_CREDIT next_credit_available_threshold: i32,
            /// max_provision.
            18 MAX_PROVISION max_provision: u16,
            /// max_provision_period, seconds.
            19 MAX_PROVISION_PERIOD max_provision_period: i32,
        }
        methods {
            /// Method activate_account.
            1 ACTIVATE "activate_account",
            /// Method close_account.
            2 CLOSE "close_account",
            /// Method reset_account.
            3 RESET "reset_account",
        }
    }

    /// Puts the account in use.
    #[must_use]
    pub fn activate_account(name: LogicalName) -> Call {
        call(ID, name, ACTIVATE, &0i8)
    }

    /// Closes the account.
    #[must_use]
    pub fn close_account(name: LogicalName) -> Call {
        call(ID, name, CLOSE, &0i8)
    }

    /// Sets a closed account back to new.
    #[must_use]
    pub fn reset_account(name: LogicalName) -> Call {
        call(ID, name, RESET, &0i8)
    }
}

codes! {
    /// What a credit is.
    CreditType {
        /// From tokens.
        0 Token,
        /// Kept back.
        1 Reserved,
        /// Emergency.
        2 Emergency,
        /// Given by time.
        3 TimeBased,
        /// Given by consumption.
        4 ConsumptionBased,
    }
}

codes! {
    /// How far a credit is used.
    CreditStatus {
        /// Enabled.
        0 Enabled,
        /// Can be selected.
        1 Selectable,
        /// Selected or invoked.
        2 Selected,
        /// In use.
        3 InUse,
        /// Used up.
        4 Exhausted,
    }
}

/// Class 112.
pub mod credit {
    use super::{BitString, Call, CreditStatus, CreditType, DateTime, LogicalName, call, class};

    class! {
        /// Class 112, credit.
        Credit, 112, "credit", versions 0 to 0;
        attributes {
            /// current_credit_amount.
            2 CURRENT_AMOUNT current_credit_amount: i32,
            /// credit_type.
            3 TYPE credit_type: CreditType,
            /// priority: 1 first.
            4 PRIORITY priority: u8,
            /// warning_threshold.
            5 WARNING_THRESHOLD warning_threshold: i32,
            /// limit: at it the credit is used up.
            6 LIMIT limit: i32,
            /// credit_configuration.
            7 CONFIGURATION credit_configuration: BitString,
            /// credit_status.
            8 STATUS credit_status: CreditStatus,
            /// preset_credit_amount.
            9 PRESET_AMOUNT preset_credit_amount: i32,
            /// credit_available_threshold.
            10 AVAILABLE_THRESHOLD credit_available_threshold: i32,
            /// period.
            11 PERIOD period: DateTime,
        }
        methods {
            /// Method update_amount.
            1 UPDATE_AMOUNT "update_amount",
            /// Method set_amount_to_value.
            2 SET_AMOUNT "set_amount_to_value",
            /// Method invoke_credit.
            3 INVOKE "invoke_credit",
        }
    }

    /// Adds to the amount.
    #[must_use]
    pub fn update_amount(name: LogicalName, by: i32) -> Call {
        call(ID, name, UPDATE_AMOUNT, &by)
    }

    /// Sets the amount; the answer holds the one before.
    #[must_use]
    pub fn set_amount_to_value(name: LogicalName, amount: i32) -> Call {
        call(ID, name, SET_AMOUNT, &amount)
    }

    /// Takes the credit in use.
    #[must_use]
    pub fn invoke_credit(name: LogicalName) -> Call {
        call(ID, name, INVOKE, &0i8)
    }
}

codes! {
    /// What a charge is collected for.
    ChargeType {
        /// Consumption.
        0 Consumption,
        /// Time.
        1 Time,
        /// A payment.
        2 Payment,
    }
}

structure! {
    /// Powers of ten of a price.
    ChargeScaling {
        /// Of the commodity.
        commodity_scale: i8,
        /// Of the price.
        price_scale: i8,
    }
}

structure! {
    /// A price.
    ChargeRow {
        /// Of which tariff.
        index: Bytes,
        /// Price of a unit.
        charge_per_unit: i16,
    }
}

structure! {
    /// Prices of a charge.
    UnitCharge {
        /// Powers of ten.
        charge_per_unit_scaling: ChargeScaling,
        /// The register that is charged.
        commodity_reference: MonitoredValue,
        /// Prices by tariff.
        charge_table: Vec<ChargeRow>,
    }
}

/// Class 113.
pub mod charge {
    use super::{
        BitString, Call, ChargeRow, ChargeType, DateTime, LogicalName, UnitCharge, call, class,
    };

    class! {
        /// Class 113, charge.
        Charge, 113, "charge", versions 0 to 0;
        attributes {
            /// total_amount_paid.
            2 TOTAL_PAID total_amount_paid: i32,
            /// charge_type.
            3 TYPE charge_type: ChargeType,
            /// priority: 1 first.
            4 PRIORITY priority: u8,
            /// unit_charge_active.
            5 UNIT_ACTIVE unit_charge_active: UnitCharge,
            /// unit_charge_passive.
            6 UNIT_PASSIVE unit_charge_passive: UnitCharge,
            /// unit_charge_activation_time.
            7 ACTIVATION_TIME unit_charge_activation_time: DateTime,
            /// period, seconds.
            8 PERIOD period: u32,
            /// charge_configuration.
            9 CONFIGURATION charge_configuration: BitString,
            /// last_collection_time.
            10 LAST_TIME last_collection_time: DateTime,
            /// last_collection_amount.
            11 LAST_AMOUNT last_collection_amount: i32,
            /// total_amount_remaining.
            12 REMAINING total_amount_remaining: i32,
            /// proportion of a payment, in ten-thousandths.
            13 PROPORTION proportion: u16,
        }
        methods {
            /// Method update_unit_charge.
            1 UPDATE_UNIT "update_unit_charge",
            /// Method activate_passive_unit_charge.
            2 ACTIVATE_PASSIVE "activate_passive_unit_charge",
            /// Method collect.
            3 COLLECT "collect",
            /// Method update_total_amount_remaining.
            4 UPDATE_REMAINING "update_total_amount_remaining",
            /// Method set_total_amount_remaining.
            5 SET_REMAINING "set_total_amount_remaining",
        }
    }

    /// Changes prices of the passive table.
    #[must_use]
    pub fn update_unit_charge(name: LogicalName, rows: &Vec<ChargeRow>) -> Call {
        call(ID, name, UPDATE_UNIT, rows)
    }

    /// Makes the passive prices the active ones.
    #[must_use]
    pub fn activate_passive_unit_charge(name: LogicalName) -> Call {
        call(ID, name, ACTIVATE_PASSIVE, &0i8)
    }

    /// Collects now.
    #[must_use]
    pub fn collect(name: LogicalName) -> Call {
        call(ID, name, COLLECT, &0i8)
    }

    /// Adds to what remains to be paid.
    #[must_use]
    pub fn update_total_amount_remaining(name: LogicalName, by: i32) -> Call {
        call(ID, name, UPDATE_REMAINING, &by)
    }

    /// Sets what remains to be paid.
    #[must_use]
    pub fn set_total_amount_remaining(name: LogicalName, amount: i32) -> Call {
        call(ID, name, SET_REMAINING, &amount)
    }
}

codes! {
    /// How a token came in.
    DeliveryMethod {
        /// Over a remote connection.
        0 Remote,
        /// Over a local connection.
        1 Local,
        /// By hand.
        2 Manual,
    }
}

codes! {
    /// What became of a token.
    TokenStatusCode {
        /// The format is right.
        0 FormatOk,
        /// It is authentic.
        1 AuthenticationOk,
        /// It is valid.
        2 ValidationOk,
        /// It was executed.
        3 ExecutionOk,
        /// The format is wrong.
        4 FormatFailure,
        /// It is not authentic.
        5 AuthenticationFailure,
        /// It is not valid: used, old, or for another meter.
        6 ValidationFailure,
        /// It could not be executed.
        7 ExecutionFailure,
        /// Received, not yet looked at.
        8 Received,
    }
}

structure! {
    /// What became of a token.
    TokenStatus {
        /// How far it came.
        status_code: TokenStatusCode,
        /// More, as the maker says.
        data_value: BitString,
    }
}

/// Class 115.
pub mod token_gateway {
    use super::{Bytes, Call, DateTime, DeliveryMethod, LogicalName, TokenStatus, call, class};

    class! {
        /// Class 115, token gateway.
        TokenGateway, 115, "token gateway", versions 0 to 0;
        attributes {
            /// token: the last one.
            2 TOKEN token: Bytes,
            /// token_time.
            3 TOKEN_TIME token_time: DateTime,
            /// token_description.
            4 TOKEN_DESCRIPTION token_description: Vec<Bytes>,
            /// token_delivery_method.
            5 DELIVERY_METHOD token_delivery_method: DeliveryMethod,
            /// token_status.
            6 TOKEN_STATUS token_status: TokenStatus,
        }
        methods {
            /// Method enter.
            1 ENTER "enter",
        }
    }

    /// Enters a token; the answer is its status.
    #[must_use]
    pub fn enter(name: LogicalName, token: &Bytes) -> Call {
        call(ID, name, ENTER, token)
    }
}
