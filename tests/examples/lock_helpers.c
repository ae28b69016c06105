// SPDX-License-Identifier: GPL-2.0
/*
 * A module in Rust that compiles rust/lock/ compiles its helpers, too.
 */
#include "../../rust/lock/helpers.c"
