// dlsym and dlvsym: a branch for every name that is not ours, so that the real function sees the caller's return
// address. Names of ours begin with "cu" or "nvml"; kiboko_hook_index decides exactly.
    .text

    .macro check_name miss
    ldrb w9, [x1]
    cmp w9, #'c'
    b.ne 1f
    ldrb w9, [x1, #1]
    cmp w9, #'u'
    b.ne \miss
    ldrb w9, [x1, #2]
    sub w9, w9, #'A'
    cmp w9, #25
    b.hi \miss
    b 2f
1:  cmp w9, #'n'
    b.ne \miss
    ldrb w9, [x1, #1]
    cmp w9, #'v'
    b.ne \miss
2:
    .endm

    .macro call_saving function
    stp x29, x30, [sp, #-48]!
    stp x0, x1, [sp, #16]
    str x2, [sp, #32]
    mov x29, sp
    .ifc \function, kiboko_hook_index
    mov x0, x1
    .endif
    bl \function
    mov w9, w0
    ldr x2, [sp, #32]
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #48
    .endm

    .macro jump_real variable
    adrp x9, \variable
    ldr x9, [x9, :lo12:\variable]
    cbnz x9, 3f
    call_saving kiboko_find_real_dlsym
    adrp x9, \variable
    ldr x9, [x9, :lo12:\variable]
    cbz x9, 4f
3:  br x9
4:  mov x0, xzr
    ret
    .endm

    .globl dlsym
    .type dlsym, %function
dlsym:
    check_name .Ldlsym_real
    call_saving kiboko_hook_index
    tbnz w9, #31, .Ldlsym_real
    mov w3, w9
    mov x2, xzr
    b kiboko_hooked_symbol
.Ldlsym_real:
    jump_real kiboko_real_dlsym
    .size dlsym, . - dlsym

    .globl dlvsym
    .type dlvsym, %function
dlvsym:
    check_name .Ldlvsym_real
    call_saving kiboko_hook_index
    tbnz w9, #31, .Ldlvsym_real
    mov w3, w9
    b kiboko_hooked_symbol
.Ldlvsym_real:
    jump_real kiboko_real_dlvsym
    .size dlvsym, . - dlvsym

    .section .note.GNU-stack, "", %progbits
