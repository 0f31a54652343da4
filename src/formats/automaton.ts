import type {Budget} from './budget';

/** A regular expression, as it is parsed. */
export type Pattern =
  | Character
  | {kind: 'start' | 'end'}
  | {kind: 'sequence'; parts: readonly Pattern[]}
  | {kind: 'either'; options: readonly Pattern[]}
  | {kind: 'repeat'; part: Pattern; least: number; most: number};

/** One character of some set. */
export interface Character {
  kind: 'character';
  test: (character: string) => boolean;
  /** The one that it is, if there is only one. */
  only?: string;
  /** How many comparisons the test takes. Default: 1. */
  cost?: number;
}

/** What a state does: it reads a character or looks where it is, and goes on to the next state; or it goes on to others. */
type State =
  | {kind: 'read'; test: (character: string) => boolean; cost: number}
  | {kind: 'start' | 'end' | 'accept'}
  | {kind: 'go'; to: number[]};

/** A pattern of 2000 characters takes fewer, unless it repeats something often. */
const MAX_STATES = 10_000;
/** Making a state takes about as long as so many steps from one to another. */
const STEPS_PER_STATE = 20;

/**
 * A pattern as a nondeterministic automaton (Thompson 1968). It reads a text once, in all the states at the same time in which it could be.
 * The steps that it takes are at most its states times the characters of the text, whatever the pattern is, where an engine that goes back
 * and forth may never end.
 */
export class Automaton {
  private readonly states: State[] = [];
  /** For each state, the last round in which it was reached. */
  private readonly reached: Uint32Array;
  private round = 0;

  /** @param fail throws an error that says what is wrong with the pattern. */
  constructor(
    pattern: Pattern,
    private readonly budget: Budget,
    private readonly fail: (what: string) => never,
  ) {
    this.compile(pattern);
    this.add({kind: 'accept'});
    this.reached = new Uint32Array(this.states.length);
  }

  /** Whether the pattern matches what lies between one of the given places, which ascend, and the end of the text. */
  matches(text: readonly string[], starts: readonly number[]): boolean {
    let next = 0;
    let reading: number[] = [];
    for (let place = 0; place <= text.length; place++) {
      const roots = reading;
      reading = [];
      this.round++;
      const character = text[place - 1] ?? '';
      let accepted = false;
      for (const state of roots) {
        const {test, cost} = this.states[state] as State & {kind: 'read'};
        this.budget.spend(cost);
        if (test(character)) {
          accepted = this.reach(state + 1, place, text.length, reading) || accepted;
        }
      }
      if (starts[next] === place) {
        next++;
        accepted = this.reach(0, place, text.length, reading) || accepted;
      }
      this.budget.spend(1);
      if (place === text.length) {
        return accepted;
      }
      if (reading.length === 0) {
        const start = starts[next];
        if (start === undefined) {
          return false;
        }
        place = start - 1;
      }
    }
    return false;
  }

  /** Goes on to all states that need no character, and notes those that read one. Returns whether the pattern may end here. */
  private reach(first: number, place: number, length: number, reading: number[]): boolean {
    const open = [first];
    let accepted = false;
    let steps = 0;
    for (let state = open.pop(); state !== undefined; state = open.pop()) {
      steps++;
      if (this.reached[state] === this.round) {
        continue;
      }
      this.reached[state] = this.round;
      const here = this.states[state] as State;
      if (here.kind === 'read') {
        reading.push(state);
      } else if (here.kind === 'go') {
        open.push(...here.to);
      } else if (here.kind === 'accept') {
        accepted = true;
      } else if (place === (here.kind === 'start' ? 0 : length)) {
        open.push(state + 1);
      }
    }
    this.budget.spend(steps);
    return accepted;
  }

  private compile(pattern: Pattern): void {
    switch (pattern.kind) {
      case 'character':
        this.add({kind: 'read', test: pattern.test, cost: pattern.cost ?? 1});
        break;
      case 'start':
      case 'end':
        this.add({kind: pattern.kind});
        break;
      case 'sequence':
        pattern.parts.forEach(part => this.compile(part));
        break;
      case 'either': {
        const choice = this.addGo();
        const ends = pattern.options.map(option => {
          choice.push(this.states.length);
          this.compile(option);
          return this.addGo();
        });
        ends.forEach(end => end.push(this.states.length));
        break;
      }
      case 'repeat':
        this.compileRepeat(pattern);
        break;
    }
  }

  private compileRepeat({part, least, most}: Pattern & {kind: 'repeat'}): void {
    for (let count = 0; count < least; count++) {
      const before = this.states.length;
      this.compile(part);
      if (this.states.length === before) {
        return; // nothing, however often it is repeated
      }
    }
    if (most === Infinity) {
      const loop = this.states.length;
      const choice = this.addGo();
      choice.push(this.states.length);
      this.compile(part);
      this.addGo().push(loop);
      choice.push(this.states.length);
      return;
    }
    const choices: number[][] = [];
    for (let count = least; count < most; count++) {
      const choice = this.addGo();
      choices.push(choice);
      choice.push(this.states.length);
      this.compile(part);
    }
    choices.forEach(choice => choice.push(this.states.length));
  }

  /** Adds a state that goes on to others, and returns the list of these. */
  private addGo(): number[] {
    const to: number[] = [];
    this.add({kind: 'go', to});
    return to;
  }

  private add(state: State): void {
    if (this.states.length >= MAX_STATES) {
      this.fail(`has more than ${MAX_STATES} states, as it repeats something very often`);
    }
    this.budget.spend(STEPS_PER_STATE);
    this.states.push(state);
  }
}
