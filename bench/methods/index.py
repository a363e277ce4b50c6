"""Built-in methods: name -> module that registers it."""

BUILTIN: dict[str, str] = {
    "plain": "bench.methods.plain",
    "joint": "bench.methods.joint",
    "l2-sp": "bench.methods.l2_sp",
    "bss": "bench.methods.bss",
    "dann": "bench.methods.dann",
}
