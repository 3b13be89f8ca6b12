# Reset, exceptions and the call to the host, for the call0 ABI.

        .section .reset, "ax"
        .global reset
reset:  j       1f
        .align  4
        .literal_position
1:      movi    a0, vectors
        wsr.vecbase a0
        movi    a0, 0xf                 # no interrupts; exceptions are allowed
        wsr.ps  a0
        rsync
        movi    a1, STACK_END
        movi    a0, start
        callx0  a0

# Offsets from VECBASE are the core's.
        .section .vectors, "ax"
        .align  256
vectors:
        .org    vectors + 0x30          # kernel
        j       trap
        .org    vectors + 0x50          # user
        j       trap
        .org    vectors + 0x70          # double
        j       trap
        .align  4
        .literal_position
trap:   rsr.exccause a2
        rsr.epc1 a3
        rsr.excvaddr a4
        movi    a1, STACK_END           # the stack may be what is broken
        movi    a0, exception
        callx0  a0

# The arguments are where the host looks for them, and so is the result.
        .section .text.simcall, "ax"
        .global simcall
        .align  4
simcall:
        simcall
        ret
