import * as tf from '@tensorflow/tfjs';
import {fieldsOf} from './fields';

/** A slot of a tfjs optimizer, one for each variable, by its index in the list. */
export interface Slot {
  originalName: string;
  variable: tf.Variable;
}

/** What `tf.AdamOptimizer` keeps private. */
export interface AdamFields {
  readonly accBeta1: tf.Variable;
  readonly accBeta2: tf.Variable;
  readonly accumulatedFirstMoment: Slot[];
  readonly accumulatedSecondMoment: Slot[];
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** What `tf.MomentumOptimizer` keeps private. */
export interface MomentumFields {
  readonly accumulations: Slot[];
  readonly momentum: number;
  readonly useNesterov: boolean;
}

/** The fields in which tfjs's optimizers count their steps, besides their slots. */
export interface Counters extends Partial<Record<'accBeta1' | 'accBeta2' | 'iteration', tf.Variable>> {
  iterations_?: number;
  readonly beta1: number;
  readonly beta2: number;
}

/** The tensors in which tfjs's optimizers keep settings. */
interface Settings {
  m?: tf.Tensor;
  c?: tf.Tensor;
  readonly momentum: number;
  readonly learningRate: number;
  setLearningRate(rate: number): void;
}

/** An optimizer and those inside it, from the outside in. */
export function chainOf(optimizer: tf.Optimizer): tf.Optimizer[] {
  // `instanceof` takes every optimizer of tfjs for one of every other class.
  const {inner} = optimizer as {inner?: tf.Optimizer | null};
  return inner == null ? [optimizer] : [optimizer, ...chainOf(inner)];
}

export function slotsOf(optimizer: tf.Optimizer): Slot[][] {
  return chainOf(optimizer).flatMap(link => Object.values(link).filter(isSlots));
}

/** Whether a field holds slots: a list with one for each variable that has been trained. */
export function isSlots(value: unknown): value is Slot[] {
  return (
    Array.isArray(value) && value.every(entry => (entry as Partial<Slot> | undefined)?.variable instanceof tf.Variable)
  );
}

/** Resets an optimizer, and those inside it, also if they were freed. */
export function forgetSteps(optimizer: tf.Optimizer): void {
  chainOf(optimizer).forEach(restart);
}

/** Frees the tensors of an optimizer, not those of the one inside it. Its next step begins anew. */
export function freeOptimizer(optimizer: tf.Optimizer): void {
  freeSlots(optimizer);
  fieldsOf<Counters>(optimizer).iterations_ = 0;
  // tfjs would count a variable that is disposed twice against the others that share its buffer.
  tensorsOf(optimizer).forEach(tensor => tensor.isDisposed || tensor.dispose());
}

/** Lets an optimizer that was freed begin anew. */
export function reviveOptimizer(optimizer: tf.Optimizer): void {
  if (tensorsOf(optimizer).some(tensor => tensor.isDisposed)) {
    restart(optimizer);
  }
}

function tensorsOf(optimizer: tf.Optimizer): tf.Tensor[] {
  return (Object.values(optimizer) as unknown[]).filter((value): value is tf.Tensor => value instanceof tf.Tensor);
}

function freeSlots(optimizer: tf.Optimizer): void {
  for (const value of Object.values(optimizer)) {
    if (isSlots(value)) {
      value.forEach(({variable}) => variable.isDisposed || variable.dispose());
      value.length = 0;
    }
  }
}

/** Resets an optimizer, also if it was freed. */
function restart(optimizer: tf.Optimizer): void {
  freeSlots(optimizer);
  const counters = fieldsOf<Counters>(optimizer);
  counters.iterations_ = 0;
  const starts = {accBeta1: counters.beta1, accBeta2: counters.beta2, iteration: 0};
  for (const [name, start] of Object.entries(starts) as [keyof typeof starts, number][]) {
    const counter = counters[name];
    if (counter !== undefined) {
      tf.tidy(() => {
        if (counter.isDisposed) {
          counters[name] = tf.variable(tf.scalar(start));
        } else {
          counter.assign(tf.scalar(start));
        }
      });
    }
  }
  const settings = fieldsOf<Settings>(optimizer);
  if (settings.m?.isDisposed === true) {
    settings.m = tf.keep(tf.scalar(settings.momentum));
  }
  if (settings.c?.isDisposed === true) {
    settings.setLearningRate(settings.learningRate);
  }
}

/** Variable of a slot → the name of the variable whose moments the slot has. */
const owners = new WeakMap<tf.Variable, string>();

/** Notes whose moments a slot has, unless it is known. */
export function ownSlot({variable}: Slot, owner: string): string {
  const ownerOfVariable = owners.get(variable) ?? owner;
  owners.set(variable, ownerOfVariable);
  return ownerOfVariable;
}

/** Notes whose moments the slots of an optimizer have, unless it is known. */
export function ownSlots(optimizer: tf.Optimizer, variables: readonly tf.LayerVariable[]): void {
  slotsOf(optimizer).forEach(slots => slots.forEach((slot, i) => ownSlot(slot, variables[i]?.name ?? '')));
}

/** The names of variables that still exist, are no weights of a model, and whose moments an optimizer has. */
export function foreignMoments(optimizer: tf.Optimizer, model: tf.LayersModel): string[] {
  const names = new Set(model.weights.map(({name}) => name));
  const ownerNames = slotsOf(optimizer).flatMap(slots => slots.map(({variable}) => owners.get(variable) ?? ''));
  return [...new Set(ownerNames)].filter(name => !names.has(name) && name in tf.engine().registeredVariables);
}

function isOf(slot: Slot | undefined, name: string): slot is Slot {
  return slot !== undefined && owners.get(slot.variable) === name;
}

/** Puts the slots of an optimizer in the order of a model's variables. Resets it if they are of others. */
export function arrangeSlots(optimizer: tf.Optimizer, variables: readonly tf.LayerVariable[]): void {
  ownSlots(optimizer, variables);
  const lists = slotsOf(optimizer).filter(slots => slots.length > 0);
  const arranged = lists.map(slots =>
    // A variable may be in the list twice.
    variables.map(({name}, i) => (isOf(slots[i], name) ? slots[i] : slots.find(slot => isOf(slot, name)))),
  );
  const fits = arranged.every(
    (slots, i) =>
      slots.length === lists[i]?.length &&
      slots.every(
        (slot, j) => slot && tf.util.arraysEqual(slot.variable.shape, (variables[j]?.shape ?? []) as number[]),
      ),
  );
  if (fits) {
    lists.forEach((slots, i) => slots.splice(0, slots.length, ...(arranged[i] as Slot[])));
  } else {
    forgetSteps(optimizer);
  }
}
