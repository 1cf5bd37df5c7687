//! What stands at the nodes is equal, and the audit chain is whole.

use domain::{View, apply::last_hash, audit};

use super::{Broken, Evidence, broken};

pub fn check(evidence: &Evidence, all: &mut Vec<Broken>) {
    let mut first = None;
    for (node, view, _) in &evidence.nodes {
        match last_hash(view) {
            Ok(hash) => {
                let (other, expect) = *first.get_or_insert((*node, hash));
                if hash != expect {
                    let seen = format!("n{node} has {hash:?}, n{other} {expect:?}");
                    all.push(broken("equal index, equal hash", seen));
                }
            }
            Err(fault) => all.push(broken("the state can be read", fault.to_string())),
        }
        chain(*node, view, all);
    }
}

fn chain(node: u64, view: &dyn View, all: &mut Vec<Broken>) {
    let promise = "the audit chain is whole";
    match audit::verify(view) {
        Ok(Ok(0)) => all.push(broken(promise, format!("n{node} has no record"))),
        Ok(Ok(_)) => {}
        Ok(Err(at)) => all.push(broken(promise, format!("n{node}: {at:?}"))),
        Err(fault) => all.push(broken(promise, format!("n{node}: {fault}"))),
    }
}
