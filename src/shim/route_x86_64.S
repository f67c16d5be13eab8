// dlsym and dlvsym: a jump for every name that is not ours, so that the real function sees the caller's return address.
// Names of ours begin with "cu" or "nvml"; kiboko_hook_index decides exactly.
    .text

#define CHECK_NAME(miss)            \
    cmpb $'c', (%rsi);              \
    jne 1f;                         \
    cmpb $'u', 1(%rsi);             \
    jne miss;                       \
    movzbl 2(%rsi), %eax;           \
    subl $'A', %eax;                \
    cmpl $25, %eax;                 \
    ja miss;                        \
    jmp 2f;                         \
1:  cmpb $'n', (%rsi);              \
    jne miss;                       \
    cmpb $'v', 1(%rsi);             \
    jne miss;                       \
2:

#define HOOK_INDEX                  \
    pushq %rdi; pushq %rsi; pushq %rdx; \
    movq %rsi, %rdi;                \
    call kiboko_hook_index;         \
    popq %rdx; popq %rsi; popq %rdi;

#define FIND_REAL                   \
    pushq %rdi; pushq %rsi; pushq %rdx; \
    call kiboko_find_real_dlsym;    \
    popq %rdx; popq %rsi; popq %rdi;

    .globl dlsym
    .type dlsym, @function
dlsym:
    .cfi_startproc
    endbr64
    CHECK_NAME(.Ldlsym_real)
    HOOK_INDEX
    testl %eax, %eax
    js .Ldlsym_real
    movl %eax, %ecx
    xorl %edx, %edx
    jmp kiboko_hooked_symbol
.Ldlsym_real:
    movq kiboko_real_dlsym(%rip), %rax
    testq %rax, %rax
    jz .Ldlsym_find
    jmp *%rax
.Ldlsym_find:
    FIND_REAL
    movq kiboko_real_dlsym(%rip), %rax
    testq %rax, %rax
    jz .Lnothing
    jmp *%rax
    .cfi_endproc
    .size dlsym, . - dlsym

    .globl dlvsym
    .type dlvsym, @function
dlvsym:
    .cfi_startproc
    endbr64
    CHECK_NAME(.Ldlvsym_real)
    HOOK_INDEX
    testl %eax, %eax
    js .Ldlvsym_real
    movl %eax, %ecx
    jmp kiboko_hooked_symbol
.Ldlvsym_real:
    movq kiboko_real_dlvsym(%rip), %rax
    testq %rax, %rax
    jz .Ldlvsym_find
    jmp *%rax
.Ldlvsym_find:
    FIND_REAL
    movq kiboko_real_dlvsym(%rip), %rax
    testq %rax, %rax
    jz .Lnothing
    jmp *%rax
.Lnothing:
    xorl %eax, %eax
    ret
    .cfi_endproc
    .size dlvsym, . - dlvsym

    .section .note.GNU-stack, "", @progbits
