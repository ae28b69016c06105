// SPDX-License-Identifier: GPL-2.0
/*
 * What two_state_shared_lock.ko exports. The functions are in capi.rs.
 */
#include <linux/export.h>
#include <linux/stddef.h>
#include <linux/two_state_shared_lock.h>

#include "helpers.c"

void two_state_lock_layout(size_t *size, size_t *last);
void two_state_lock_layout(size_t *size, size_t *last)
{
	*size = sizeof(struct two_state_shared_lock);
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	*last = offsetof(struct two_state_shared_lock, dep_map);
#else
	*last = offsetof(struct two_state_shared_lock, futile_spins);
#endif
}

/* Of a function in Rust, whose declaration is in the header. */
#define EXPORT_RUST_GPL(name)	EXPORT_SYMBOL_GPL(name)

EXPORT_RUST_GPL(__two_state_lock_init);
EXPORT_RUST_GPL(two_state_lock_destroy);
EXPORT_RUST_GPL(two_state_lock);
EXPORT_RUST_GPL(two_state_lock_nested);
EXPORT_RUST_GPL(two_state_lock_killable);
EXPORT_RUST_GPL(two_state_lock_killable_nested);
EXPORT_RUST_GPL(two_state_lock_timeout);
EXPORT_RUST_GPL(two_state_trylock);
EXPORT_RUST_GPL(two_state_might_lock);
EXPORT_RUST_GPL(two_state_taken_in_faults);
EXPORT_RUST_GPL(two_state_unlock);
EXPORT_RUST_GPL(two_state_lock_hand_off);
EXPORT_RUST_GPL(two_state_lock_take_over);
EXPORT_RUST_GPL(two_state_assert_held);
EXPORT_RUST_GPL(two_state_is_contended);
