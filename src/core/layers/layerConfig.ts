import type {LoRAStrength} from '../methods/method';
import type {WeightTarget} from './weightTargets';

/** How one layer of an adapter updates its base. */
export interface LayerConfig extends Required<LoRAStrength> {
  /** Class of the layer that is adapted. */
  className: string;
  /** How the weights are updated: a `MethodName`, an `init` from the weight, or a method of an extension. */
  method?: string;
  /** How much of the update counts, if the method has no other way to say it. Default: 1. */
  share?: number;
  /** The tokens whose embeddings train, for the method that trains these alone. */
  tokens?: number[];
  /** The probability of dropping elements of the update's input in training. Default: 0. */
  dropout?: number;
  /** The weights that are updated, for a layer that is adapted by their names. */
  weights?: Required<WeightTarget>[];
  /** Whether the base's own weights stay fixed; if not, they are part of the adapter. */
  freezeBaseLayer: boolean;
  /** Whether the bias trains with the factors, though the kernel is fixed, and is in the adapter. Default: false. */
  trainBias?: boolean;
}
