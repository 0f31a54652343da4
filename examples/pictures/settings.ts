import type {TASKS} from './tasks';

/** How LoRA trains after the head. */
export interface Setting {
  /** The first block that is adapted. */
  firstBlock: number;
  rank: number;
  rate: number;
  /** How long the head trained alone: one of `HEAD_EPOCHS`. */
  headEpochs: number;
  epochs: number;
  /** Training ends when the mean loss of an epoch is below this. */
  until?: number;
  /** Whether the rate warms up and decays. Default: it is constant. */
  decays?: boolean;
  /** After which epochs the test images are classified, and not only after the last. */
  at?: readonly number[];
}

/** Runs of the tasks of a part. */
export interface Plan {
  base: string;
  part: keyof typeof TASKS;
  seeds: readonly number[];
  settings: Readonly<Record<string, Setting>>;
}

/** After how many epochs the head alone is measured. */
export const HEAD_EPOCHS = [10, 20, 40, 80, 160];

const SETTING: Setting = {firstBlock: 12, rank: 8, rate: 1e-3, headEpochs: 20, epochs: 40, until: 0.01};

/** One thing after the other is changed. */
const SCREENED: Readonly<Record<string, Setting>> = {
  'from block 12, 20 epochs': {...SETTING, epochs: 20, until: 0, at: [4, 6, 8, 10]},
  'from block 16, rank 4': {...SETTING, firstBlock: 16, rank: 4},
  'from block 14': {...SETTING, firstBlock: 14},
  'from block 12, rate 3e-3': {...SETTING, rate: 3e-3},
  'from block 12, head 80': {...SETTING, headEpochs: 80},
};

/** The recipe for a vision transformer, until one thing is changed after the other. */
const VISION: Setting = {...SETTING, firstBlock: 8, rate: 3e-4};

const VISION_SCREENED: Readonly<Record<string, Setting>> = {
  'from block 8, rate 3e-4': VISION,
  'from block 8, rate 1e-3': {...VISION, rate: 1e-3},
  'from block 8, rate 1e-4': {...VISION, rate: 1e-4},
  'from block 10': {...VISION, firstBlock: 10},
  'from block 4': {...VISION, firstBlock: 4},
};

const GRAPH_SCREENED: Readonly<Record<string, Setting>> = {
  'from block 12': SETTING,
  'from block 12, rate 3e-4': {...SETTING, rate: 3e-4},
  'from block 14': {...SETTING, firstBlock: 14},
  'from block 14, rate 3e-4': {...SETTING, firstBlock: 14, rate: 3e-4},
  'from block 16': {...SETTING, firstBlock: 16},
};

export const PLANS: readonly Plan[] = [
  {base: 'MobileNetV2', part: 'choose', seeds: [1], settings: SCREENED},
  {base: 'MobileNetV2', part: 'report', seeds: [1, 2, 3, 4, 5], settings: {'from block 12': SETTING}},
  {base: 'MobileNetV2 1.4, a GraphModel', part: 'choose', seeds: [1], settings: GRAPH_SCREENED},
  {
    base: 'MobileNetV2 1.4, a GraphModel',
    part: 'report',
    seeds: [1, 2, 3, 4, 5],
    settings: {'from block 12': SETTING},
  },
  {base: 'DINOv2', part: 'choose', seeds: [1], settings: VISION_SCREENED},
  {
    base: 'DINOv2',
    part: 'report',
    seeds: [1, 2, 3, 4, 5],
    settings: {
      'from block 4': VISION_SCREENED['from block 4']!,
      'from block 8, 8 epochs': {...VISION, epochs: 8, until: 0, decays: true},
    },
  },
];
