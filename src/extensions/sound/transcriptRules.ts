import {LoRAError, show, throwFaults, unsupportedError} from '../../platform/errors';
import type {SpeechFacts} from '../transformers/load/speechFacts';

export interface TranscriptSettings {
  language: string | undefined;
  task: string | undefined;
  timestamps: boolean;
}

/**
 * The tokens before a transcript, as in `generate` of transformers. The second is `undefined` if the language has to be
 * detected.
 *
 * @throws LoRAError if the model lacks the language, the task or timestamps.
 */
export function firstTokens(
  facts: SpeechFacts,
  {language, task, timestamps}: TranscriptSettings,
): (number | undefined)[] {
  const {start, languages, tasks, forced, noTimestamps} = facts;
  if (start === undefined) {
    throw unsupportedError('The config of the model has no decoder_start_token_id, the token before a transcript.');
  }
  const hasLanguages = Object.keys(languages).length > 0;
  const idOf = (name: string, value: string | undefined, table: Readonly<Record<string, number>>) =>
    value === undefined || Object.hasOwn(table, value)
      ? []
      : [`${name} must be one of ${Object.keys(table).join(', ') || 'none'}, got ${show(value)}.`];
  // Models for one language have no tokens for languages and tasks.
  const isOnlyEnglish = !hasLanguages && (language ?? 'en') === 'en' && (task ?? 'transcribe') === 'transcribe';
  throwFaults([
    ...(isOnlyEnglish ? [] : [...idOf('language', language, languages), ...idOf('task', task, tasks)]),
    ...(timestamps && noTimestamps === undefined ? ['timestamps: the model has none.'] : []),
  ]);
  const isPlain = task === undefined && language === undefined;
  const tokens: (number | undefined)[] = [start, ...(isPlain || isOnlyEnglish ? forced : [])];
  if (language !== undefined && hasLanguages) {
    tokens[1] = languages[language];
  } else if (hasLanguages && tokens.length < 2) {
    tokens.push(undefined);
  }
  const ofTask = task ?? (language === undefined ? undefined : 'transcribe');
  if (ofTask !== undefined && Object.hasOwn(tasks, ofTask)) {
    tokens.push(tasks[ofTask]);
  }
  const isWithout = tokens.at(-1) === noTimestamps && tokens.length > 1;
  if (timestamps && isWithout) {
    tokens.pop();
  } else if (!timestamps && noTimestamps !== undefined && !isWithout) {
    tokens.push(noTimestamps);
  }
  return tokens;
}

export function likeliestLanguage(logits: Float32Array, {languages}: SpeechFacts): number {
  const tokens = Object.values(languages).filter(token => token < logits.length);
  return tokens.reduce((best, token) => ((logits[token] ?? 0) > (logits[best] ?? 0) ? token : best), tokens[0] ?? 0);
}

/**
 * The likeliest next token that the rules allow.
 *
 * @param made the tokens of the transcript so far.
 * @throws LoRAError if a logit is NaN, or no token is left.
 */
export function nextToken(
  logits: Float32Array,
  made: readonly number[],
  facts: SpeechFacts,
  timestamps: boolean,
): number {
  const hide = (tokens: readonly number[]) =>
    tokens.forEach(token => token < logits.length && (logits[token] = -Infinity));
  hide(facts.suppressed);
  if (made.length === 0) {
    hide(facts.suppressedAtFirst);
  }
  if (timestamps) {
    restrictTimestamps(logits, made, facts);
  }
  const best = logits.reduce(
    (bestToken, logit, token) => (logit > (logits[bestToken] as number) ? token : bestToken),
    0,
  );
  if (logits[best] === -Infinity) {
    throw unsupportedError('The generation config of the model suppresses every token that can come next.');
  }
  if (!(Number(logits[best]) < Infinity)) {
    throw new LoRAError('A logit of the model is not finite.', {code: 'ERR_NUMERIC'});
  }
  return best;
}

/** Timestamps come in pairs and do not decrease. One is taken if all together are likelier than any token of a text. */
function restrictTimestamps(logits: Float32Array, made: readonly number[], facts: SpeechFacts): void {
  const {noTimestamps = 0, latestFirst, ends} = facts;
  const first = noTimestamps + 1;
  logits[noTimestamps] = -Infinity;
  const isTime = (token: number | undefined) => token !== undefined && token >= first;
  const [isLast, isBeforeLast] = [isTime(made.at(-1)), made.length < 2 || isTime(made.at(-2))];
  if (isLast && isBeforeLast) {
    logits.fill(-Infinity, first);
  } else if (isLast) {
    logits.fill(-Infinity, 0, ends[0] ?? 0);
  }
  const latest = made.filter(isTime).at(-1);
  if (latest !== undefined) {
    logits.fill(-Infinity, first, isLast && !isBeforeLast ? latest : latest + 1);
  }
  if (made.length === 0) {
    logits.fill(-Infinity, 0, first);
    if (latestFirst !== undefined) {
      logits.fill(-Infinity, first + latestFirst + 1);
    }
  }
  const times = logits.subarray(first);
  const text = logits.subarray(0, first);
  const largest = times.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const sum = times.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  if (largest > -Infinity && largest + Math.log(sum) > text.reduce((most, logit) => Math.max(most, logit), -Infinity)) {
    text.fill(-Infinity);
  }
}
