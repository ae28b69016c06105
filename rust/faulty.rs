// SPDX-License-Identifier: GPL-2.0

//! What a test kernel has to notice, done on purpose: memory that is lost, memory that is read after
//! it was freed, or beside its bounds. Test only; `tests/memory.sh` loads it.

use kernel::prelude::*;

module! {
    type: Faulty,
    name: "faulty",
    authors: ["The toyfs developers"],
    description: "Deliberate mistakes with memory",
    license: "GPL",
    params: {
        fault: i32 {
            default: 0,
            description: "1: lose memory, 2: read what was freed, 3: read beside an array",
        },
    },
}

struct Faulty;

/// Reads byte `at` of what is or was an allocation.
///
/// # Safety
///
/// There is none where that byte is not allocated; KASAN has to say so. Without it, a byte of some slab
/// is read.
unsafe fn read(memory: *const u8, at: usize) {
    // SAFETY: See above.
    let byte = unsafe { memory.add(at).read_volatile() };
    pr_info!("read {byte}\n");
}

impl kernel::Module for Faulty {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match module_parameters::fault.value() {
            1 => {
                // Of one, the address might linger on a stack.
                for i in 0..16 {
                    core::mem::forget(KBox::new([i as u8; 64], GFP_KERNEL)?);
                }
            }
            2 => {
                let memory = KBox::new([0u8; 64], GFP_KERNEL)?;
                let address = memory.as_ptr();
                drop(memory);
                // SAFETY: The mistake.
                unsafe { read(address, 0) }
            }
            3 => {
                let memory = KBox::new([0u8; 64], GFP_KERNEL)?;
                // SAFETY: The mistake.
                unsafe { read(memory.as_ptr(), 64) }
            }
            _ => return Err(EINVAL),
        }
        Ok(Faulty)
    }
}
