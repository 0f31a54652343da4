import type {LabelledImages} from '../format';

/** A label of the visitor's, and the samples of it. */
export interface Label {
  name: string;
  samples: Uint8Array[];
}

/** As many as the page has room for. */
const MOST_LABELS = 10;

/** The labels, which are never fewer than one, and the selected one of them. */
export class Samples {
  private entries: Label[];
  private selection = 0;

  /** @param on.change is called after every change, `on.rename` when a label has got another name. */
  constructor(
    names: readonly string[],
    private readonly on: {change: () => void; rename: (from: string, to: string) => void},
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
    return this.entries.length < MOST_LABELS;
  }

  select(label: Label): void {
    if (label !== this.selected) {
      this.selection = this.entries.indexOf(label);
      this.on.change();
    }
  }

  rename(label: Label, name: string): void {
    if (name !== '' && !this.entries.some(other => other.name === name)) {
      const former = label.name;
      label.name = name;
      this.on.rename(former, name);
    }
    this.on.change();
  }

  /** The label of that name, a new one where it is missing and there is room for it. */
  named(name: string): Label | undefined {
    const present = this.entries.find(label => label.name === name);
    if (present !== undefined || !this.canAddLabel) {
      return present;
    }
    const label: Label = {name, samples: []};
    this.entries.push(label);
    this.on.change();
    return label;
  }

  /** A label with a name that is still free. */
  addLabel(): void {
    let number = 1;
    while (this.entries.some(({name}) => name === `symbol ${number}`)) {
      number++;
    }
    const label = this.named(`symbol ${number}`);
    if (label !== undefined) {
      this.select(label);
    }
  }

  remove(label: Label): void {
    this.entries = this.entries.filter(other => other !== label);
    this.selection = Math.min(this.selection, this.entries.length - 1);
    this.on.change();
  }

  add(label: Label, ...images: readonly Uint8Array[]): void {
    label.samples.push(...images);
    this.on.change();
  }

  clear(): void {
    this.entries.forEach(label => (label.samples = []));
    this.on.change();
  }

  /** Takes on other labels; those that keep their name keep their samples. */
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
