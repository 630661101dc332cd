//! The compiled twins of Chancel's hot functions (`chancel.daemon.hot`), and turns that string them
//! together: waiting, taking a batch, handing it on (`turn`).
//!
//! Each does, byte for byte, what its twin in Python does, and knows no more than it is handed:
//! slots (shared memory), runs, descriptors. What lives here from one call to the next is cipher
//! contexts, replay windows, buffers of a descriptor, and counters.

#[cfg(feature = "cipher")]
mod aead;
#[cfg(feature = "vicar")]
mod agelas;
#[cfg(feature = "device")]
mod device_checksum;
#[cfg(feature = "device")]
mod device_drops;
#[cfg(feature = "device")]
mod device_errors;
#[cfg(feature = "device")]
mod device_filling;
#[cfg(feature = "device")]
mod device_filter;
#[cfg(feature = "device")]
mod device_input;
#[cfg(feature = "device")]
mod device_joined;
#[cfg(feature = "device")]
mod device_joints;
#[cfg(feature = "device")]
mod device_output;
#[cfg(feature = "device")]
mod device_packets;
#[cfg(feature = "device")]
mod device_read;
#[cfg(feature = "device")]
mod device_train;
#[cfg(feature = "device")]
mod device_vnet;
#[cfg(feature = "device")]
mod device_write;
#[cfg(feature = "cipher")]
mod header;
#[cfg(feature = "turns")]
mod lane;
#[cfg(feature = "network")]
mod mask_encapsulation;
#[cfg(feature = "network")]
mod mask_group;
#[cfg(feature = "network")]
mod mask_kmac;
#[cfg(feature = "network")]
mod mask_packing;
#[cfg(feature = "network")]
mod mask_shroud;
mod memory;
#[cfg(feature = "network")]
mod net_address;
#[cfg(feature = "network")]
mod net_offers;
#[cfg(feature = "network")]
mod net_receive;
#[cfg(feature = "network")]
mod net_send;
#[cfg(feature = "cipher")]
mod open;
#[cfg(feature = "cipher")]
mod reasons;
mod runs;
#[cfg(feature = "cipher")]
mod seal;
#[cfg(feature = "turns")]
mod token;
#[cfg(feature = "turns")]
mod turn;
#[cfg(feature = "turns")]
mod turn_open;
#[cfg(feature = "turns")]
mod turn_read;
#[cfg(feature = "turns")]
mod turn_receive;
#[cfg(feature = "turns")]
mod turn_relay;
#[cfg(feature = "turns")]
mod turn_seal;
#[cfg(feature = "turns")]
mod turn_send;
#[cfg(feature = "turns")]
mod turn_write;
#[cfg(feature = "cipher")]
mod window;

use pyo3::prelude::*;

/// The module `chancel_accel`.
#[pymodule]
fn chancel_accel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    #[cfg(feature = "vicar")]
    module.add_function(wrap_pyfunction!(agelas::agelas_crypt, module)?)?;
    #[cfg(feature = "cipher")]
    add_cipher(module)?;
    #[cfg(feature = "device")]
    add_device(module)?;
    #[cfg(feature = "network")]
    add_network(module)?;
    #[cfg(feature = "turns")]
    add_turns(module)?;
    Ok(())
}

#[cfg(feature = "cipher")]
fn add_cipher(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<aead::Aead>()?;
    module.add_class::<window::ReplayWindow>()?;
    module.add_function(wrap_pyfunction!(seal::seal_runs, module)?)?;
    module.add_function(wrap_pyfunction!(open::open_runs, module)?)
}

#[cfg(feature = "device")]
fn add_device(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<device_read::DeviceReader>()?;
    module.add_class::<device_write::DeviceWriter>()
}

#[cfg(feature = "network")]
fn add_network(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<mask_encapsulation::Encapsulation>()?;
    module.add_class::<mask_shroud::Shroud>()?;
    module.add_function(wrap_pyfunction!(net_offers::split_offers, module)?)?;
    module.add_function(wrap_pyfunction!(net_receive::receive_runs, module)?)?;
    module.add_function(wrap_pyfunction!(net_send::send_runs, module)?)
}

#[cfg(feature = "turns")]
fn add_turns(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<lane::LaneReader>()?;
    module.add_class::<lane::LaneWriter>()?;
    module.add_class::<turn_seal::SendKey>()?;
    module.add_class::<turn_read::ReadTurns>()?;
    module.add_class::<turn_seal::SealTurns>()?;
    module.add_class::<turn_send::SendTurns>()?;
    module.add_class::<turn_receive::ReceiveTurns>()?;
    module.add_class::<turn_open::OpenTurns>()?;
    module.add_class::<turn_write::WriteTurns>()?;
    module.add_class::<turn_relay::RelayTurns>()
}
