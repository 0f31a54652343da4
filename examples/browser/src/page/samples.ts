import type {LabelledImages} from '../format';

/** A label of the visitor and its samples. */
export interface Label {
  name: string;
  samples: readonly Uint8Array[];
}

/** All labels and samples at one time, which can be restored. */
export interface Collection {
  labels: readonly Label[];
  selection: number;
}

/** Listeners for changes. */
interface Listeners {
  /** Called before every change, with a short description. */
  before: (what: string) => void;
  /** Called after every change. */
  change: () => void;
  /** Called when a label is renamed. */
  rename: (from: string, to: string) => void;
}

/** The most labels that the page has room for. */
const MAX_LABELS = 10;

/** The labels, at least one, and which one is selected. */
export class Samples {
  private entries: Label[];
  private selection = 0;

  constructor(
    names: readonly string[],
    private readonly on: Listeners,
  ) {
    this.entries = names.map(name => ({name, samples: []}));
  }

  get labels(): readonly Label[] {
    return this.entries;
  }

  get selected(): Label {
    return this.entries[this.selection]!;
  }

  get canAddLabel(): boolean {
    return this.entries.length < MAX_LABELS;
  }

  /** A snapshot of all labels and samples. */
  get collection(): Collection {
    return {labels: this.entries.map(label => ({...label})), selection: this.selection};
  }

  /** Restores a snapshot. */
  restore({labels, selection}: Collection): void {
    this.entries = labels.map(label => ({...label}));
    this.selection = selection;
    this.on.change();
  }

  select(label: Label): void {
    if (label !== this.selected) {
      this.selection = this.entries.indexOf(label);
      this.on.change();
    }
  }

  rename(label: Label, name: string): void {
    if (name !== '' && !this.entries.some(other => other.name === name)) {
      this.on.before(`“${label.name}” renamed`);
      const former = label.name;
      label.name = name;
      this.on.rename(former, name);
    }
    this.on.change();
  }

  /** Adds a label with a free name. */
  addLabel(): void {
    let number = 1;
    while (this.entries.some(({name}) => name === `symbol ${number}`)) {
      number++;
    }
    this.on.before('new label');
    this.selection = this.entries.push({name: `symbol ${number}`, samples: []}) - 1;
    this.on.change();
  }

  remove(label: Label): void {
    this.on.before(`“${label.name}” removed`);
    this.entries = this.entries.filter(other => other !== label);
    this.selection = Math.min(this.selection, this.entries.length - 1);
    this.on.change();
  }

  /** Adds a drawing to the selected label. */
  add(image: Uint8Array): void {
    this.on.before('drawing added');
    this.selected.samples = [...this.selected.samples, image];
    this.on.change();
  }

  /** Adds images to labels by name, and adds labels if there is room. Returns how many images were added. */
  take(names: readonly string[], imagesOf: (name: string) => readonly Uint8Array[]): number {
    const missing = names.filter(name => !this.entries.some(label => label.name === name));
    const made = missing.slice(0, MAX_LABELS - this.entries.length).map(name => ({name, samples: []}));
    const more = new Map(
      [...this.entries, ...made].filter(({name}) => names.includes(name)).map(({name}) => [name, imagesOf(name)]),
    );
    const count = [...more.values()].flat().length;
    if (count > 0) {
      this.on.before('samples added');
      this.entries.push(...made);
      for (const label of this.entries) {
        label.samples = [...label.samples, ...(more.get(label.name) ?? [])];
      }
      this.on.change();
    }
    return count;
  }

  clear(): void {
    this.on.before('samples removed');
    this.entries.forEach(label => (label.samples = []));
    this.on.change();
  }

  /** Replaces the labels. Those that keep their name keep their samples. */
  setLabels(names: readonly string[]): void {
    this.entries = names.map(name => this.entries.find(label => label.name === name) ?? {name, samples: []});
    this.selection = 0;
    this.on.change();
  }

  /** Labels that have samples, and those samples. */
  forTraining(): {labels: string[]; samples: LabelledImages} {
    const used = this.entries.filter(({samples}) => samples.length > 0);
    return {
      labels: used.map(({name}) => name),
      samples: {
        images: used.flatMap(({samples}) => samples),
        classes: used.flatMap(({samples}, i) => samples.map(() => i)),
      },
    };
  }
}
