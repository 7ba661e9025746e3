/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From reset (EL1, MMU off, at physical addresses) to kmain() at virtual ones, the
 * way to EL0 and back, and the code that runs there.
 */
	.section .text.entry, "ax"
	.global entry
entry:
	mrs	x20, mpidr_el1
	and	x20, x20, #0xff
	adr	x1, boot_stack_top
	sub	x1, x1, x20, lsl #14
	mov	sp, x1
	cbnz	x20, 1f
	bl	early_tables			/* in C, by addresses relative to the PC */
1:	bl	early_registers
	ldr	x1, =boot_stack_top		/* the same stack by its virtual address */
	sub	x1, x1, x20, lsl #14
	mov	sp, x1
	ldr	x2, =vectors
	msr	vbar_el1, x2
	isb
	mov	x0, x20
	ldr	x3, =kmain
	br	x3
	.ltorg

/*
 * void to_el0(struct task *task, u64 pc, u64 x0..x3): keeps the kernel's registers,
 * and comes back at the next SVC.
 */
	.text
	.global to_el0
to_el0:
	stp	x29, x30, [sp, #-16]!
	stp	x27, x28, [sp, #-16]!
	stp	x25, x26, [sp, #-16]!
	stp	x23, x24, [sp, #-16]!
	stp	x21, x22, [sp, #-16]!
	stp	x19, x20, [sp, #-16]!
	msr	elr_el1, x1
	mov	x9, #0x3c0			/* EL0t, no interrupts */
	msr	spsr_el1, x9
	mov	x0, x2
	mov	x1, x3
	mov	x2, x4
	mov	x3, x5
	mov	x9, #0x1000			/* the user's stack pointer: a lower address */
	msr	sp_el0, x9
	eret

/* A system call: back to the caller of to_el0(), with x0 as its return value. */
from_el0:
	mrs	x9, esr_el1
	lsr	x9, x9, #26
	cmp	x9, #0x15			/* SVC */
	b.ne	broken
	ldr	x9, =current
	mrs	x10, mpidr_el1
	and	x10, x10, #0xff
	ldr	x9, [x9, x10, lsl #3]
	msr	sp_el0, x9			/* as arm64 Linux keeps "current" */
	ldp	x19, x20, [sp], #16
	ldp	x21, x22, [sp], #16
	ldp	x23, x24, [sp], #16
	ldp	x25, x26, [sp], #16
	ldp	x27, x28, [sp], #16
	ldp	x29, x30, [sp], #16
	ret

broken:
	mrs	x0, esr_el1
	mrs	x1, far_el1
	mrs	x2, elr_el1
	mov	x0, #1
	b	leave

/* void leave(u64 status): semihosting SYS_EXIT, reason ADP_Stopped_ApplicationExit. */
	.global leave
leave:
	sub	sp, sp, #16
	ldr	x1, =0x20026
	stp	x1, x0, [sp]
	mov	x1, sp
	mov	w0, #0x18
	hlt	#0xf000
	b	.
	.ltorg

	.balign 2048
vectors:
	.rept	8
	.balign 128
	b	broken
	.endr
	.balign 128
	b	from_el0			/* synchronous, from EL0 */
	.rept	7
	.balign 128
	b	broken
	.endr

/* What runs at EL0, copied to a page of each address space. */
	.balign 16
	.global user_start, user_end, user_mark, user_touch
user_start:
user_mark:					/* x0 to x3 as kpv_mark() */
	hint	#0x5b
	svc	#0
user_touch:					/* x0: start, x1: end, x2: stride, x3: rounds */
	mov	x4, x0
1:	ldr	x5, [x4]
	add	x4, x4, x2
	cmp	x4, x1
	b.lo	1b
	mov	x4, x0
	subs	x3, x3, #1
	b.ne	1b
	svc	#0
user_end:

	.bss
	.balign 16
	.space	4 * 16384
boot_stack_top:
