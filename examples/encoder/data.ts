import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

/** A text and its class index. */
export interface Labelled {
  text: string;
  label: number;
}

/** A classification task on subject lines. */
export interface Task {
  name: string;
  classes: readonly string[];
  train: Labelled[];
  test: Labelled[];
}

/** The number of subject lines of a task. */
export interface Amounts {
  train: number;
  test: number;
}

/** The parts of a mail that are used: no body, and no address. */
export interface Mail {
  group: string;
  subject: string;
  /** Its mailing list. */
  list: string;
}

const LISTS = ['fork', 'ilug', 'rpm-zzzlist', 'razor-users', 'spamassassin', 'exmh'];

/** The tasks, from the folder of SpamAssassin's mails: spam or not, which mailing list, newsletter or not. */
export function makeTasks(folder: string, {train, test}: Amounts): Record<'spam' | 'list' | 'newsletter', Task> {
  const mails = readMails(folder);
  const task = (name: string, classes: readonly string[], labelOf: (mail: Mail) => number): Task => {
    const labelled = mails.map(mail => ({text: mail.subject, label: labelOf(mail)})).filter(({label}) => label >= 0);
    const chosen = balanced(labelled, classes.length, train + test);
    return {name, classes, train: chosen.slice(0, train), test: chosen.slice(train)};
  };
  return {
    spam: task('spam or not', ['not', 'spam'], ({group}) => (group.startsWith('spam') ? 1 : 0)),
    list: task('which mailing list', LISTS, ({group, list}) =>
      group.includes('ham') ? LISTS.findIndex(name => list.startsWith(name)) : -1,
    ),
    newsletter: task('newsletter or person', ['person', 'newsletter'], ({group}) =>
      group.startsWith('hard-ham') ? 1 : group.startsWith('easy-ham') ? 0 : -1,
    ),
  };
}

/** The mails with distinct subjects, without what would reveal the answer: `Re:` and tags of lists. */
export function readMails(folder: string): Mail[] {
  const seen = new Set<string>();
  const mails: Mail[] = [];
  for (const group of readdirSync(folder, {withFileTypes: true}).filter(entry => entry.isDirectory())) {
    for (const file of readdirSync(join(folder, group.name)).filter(name => name.endsWith('.json'))) {
      const {text} = JSON.parse(readFileSync(join(folder, group.name, file), 'utf8')) as {text: string};
      const subject = (/^Subject:(.*)$/im.exec(text)?.[1] ?? '')
        .replace(/\[[^\]]*\]/g, ' ')
        .replace(/\b(re|fwd?):/gi, ' ')
        .replace(/\S+@\S+/g, ' ') // addresses
        .replace(/\s+/g, ' ')
        .trim();
      if (subject.length < 5 || seen.has(subject.toLowerCase())) {
        continue;
      }
      seen.add(subject.toLowerCase());
      const list = /^List-Id:.*<([^>]+)>/im.exec(text)?.[1] ?? '';
      mails.push({group: group.name, subject, list});
    }
  }
  return mails;
}

/** So many texts in an order of their own, as far as they reach the same number of each class. */
function balanced(texts: readonly Labelled[], classes: number, count: number): Labelled[] {
  const random = randomFrom(7);
  const most = Math.ceil(count / classes);
  const taken = new Array<number>(classes).fill(0);
  const even = shuffled(texts, random).filter(({label}) => (taken[label] = taken[label]! + 1) <= most);
  // Of a rare class most stand at the end.
  return shuffled(even, random).slice(0, count);
}

/** The same in random order. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map(item => ({item, key: random()}))
    .sort((one, other) => one.key - other.key)
    .map(({item}) => item);
}

/** Random numbers from 0 to 1, the same ones for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
