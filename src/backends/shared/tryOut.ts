import type {Capabilities} from './capabilities';
import type {BackendListener} from './lifecycle';

/** Programs of our own on a graphics card. */
export interface Programs {
  /** Runs some on a backend that is set, and returns whether their results are right. */
  readonly isRight: (backend: never, onBackend: (listener: BackendListener) => void) => Promise<boolean>;
  /** The capabilities that the backend has with them. */
  readonly capabilities: Capabilities;
}

let isOff = false;

/** Whether our wasm module and our programs on graphics cards may be used. */
export function mayUseOwnCode(): boolean {
  return !isOff;
}

/** Runs `f` without our wasm module and our programs, as where they cannot be used. */
export async function withoutOwnCode<T>(f: () => T | Promise<T>): Promise<T> {
  isOff = true;
  try {
    return await f();
  } finally {
    isOff = false;
  }
}

let fusedSumsWanted = false;

/** Whether training computes `a·b + c` in one instruction if the engine has it. */
export function areFusedSumsWanted(): boolean {
  return fusedSumsWanted;
}

export function wantFusedSums(wanted: boolean): void {
  fusedSumsWanted = wanted;
}

/** Backends on which our programs have been tried out, and whether they returned the right values. */
const tried = new WeakMap<object, {works: boolean; readonly over: Promise<void>}>();

/**
 * Has programs of our own tried out on a backend, once. Numbers come from a graphics card a little later: until then,
 * and where they are wrong, everything is computed by tfjs's own kernels.
 *
 * @param isRight runs programs, and returns whether their results are right.
 */
export function tryOut(backend: object, isRight: () => Promise<boolean>): void {
  if (tried.has(backend)) {
    return;
  }
  const trial = {works: false, over: Promise.resolve()};
  tried.set(backend, trial);
  trial.over = isRight().then(
    right => void (trial.works = right),
    () => undefined,
  );
}

/** Runs no more programs on a backend, which has refused one of them. */
export function giveUp(backend: object, reason: string): void {
  const trial = tried.get(backend);
  if (trial?.works === true) {
    trial.works = false;
    console.warn(`tfjs-lora now uses tfjs's own kernels; the results of the current step may be wrong. ${reason}`);
  }
}

/** Whether our programs run on a backend. */
export function runsOn(backend: object): boolean {
  return mayUseOwnCode() && tried.get(backend)?.works === true;
}

/** Waits until it is known whether programs run on a backend. */
export async function trialOf(backend: object): Promise<void> {
  await tried.get(backend)?.over;
}
