//! Tests of the whole domain from outside: golden scripts, properties under random change, codecs.

#[cfg(test)]
mod address;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod clerk;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod people;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod watching;
