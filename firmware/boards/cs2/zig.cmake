# PyPI: ziglang, whose command python-zig stands beside python
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR riscv32)
set(CMAKE_C_COMPILER python-zig cc)
set(CMAKE_ASM_COMPILER python-zig cc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "-target riscv32-freestanding-none -mcpu=generic_rv32+m+c -fno-sanitize=all")
set(CMAKE_ASM_FLAGS_INIT "${CMAKE_C_FLAGS_INIT}")
