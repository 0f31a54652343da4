// The parts of `@genai-fi/nanogpt` 1.3.0 that are measured. It is no dependency of this repository.

declare module 'nanogpt/backend.js' {
  export function selectBackend(name: 'webgpu' | 'webgl'): Promise<void>;
}

declare module 'nanogpt/main.js' {
  interface LoRAConfig {
    rank: number;
    alpha: number;
    variables: string[];
  }

  export class Model {
    createLoRA(name: string, config: LoRAConfig): void;
    attachLoRA(name: string): void;
  }

  export const models: {NanoGPTV1: new (config: Record<string, unknown>) => Model};
}

declare module 'nanogpt/training/BasicTrainer.js' {
  import type {Model} from 'nanogpt/main.js';

  interface Loss {
    data(): Promise<Float32Array>;
    dispose(): void;
  }

  export default class BasicTrainer {
    constructor(model: Model, tokenizer: null, options: {learningRate: number});
    dummyPass(): Promise<void>;
    trainStep(state: object, batch: {xs: unknown; ys: unknown}): Loss;
  }
}
