/** The part of the WebAssembly API that exact.ts uses (TypeScript declares it for browsers only). */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Memory {
    constructor(descriptor: { initial: number });
    readonly buffer: ArrayBuffer;
  }
  class Instance {
    constructor(module: Module, imports: { host: { memory: Memory } });
    readonly exports: Readonly<Record<string, unknown>>;
  }
}
