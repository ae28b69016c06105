// SPDX-License-Identifier: GPL-2.0
/*
 * What faults_disabled_mapping.ko exports. The functions are in capi.rs.
 */
#include <linux/export.h>
#include <linux/faults_disabled_mapping.h>

/* Of a function in Rust, whose declaration is in the header. */
#define EXPORT_RUST_GPL(name)	EXPORT_SYMBOL_GPL(name)

EXPORT_RUST_GPL(faults_disabled_begin);
EXPORT_RUST_GPL(faults_disabled_end);
EXPORT_RUST_GPL(faults_disabled_check);
EXPORT_RUST_GPL(faults_disabled_refused);
EXPORT_RUST_GPL(faults_disabled_set_blocking);
