import {type ChatRecord, type ChatMessage, parseChats} from 'tfjs-lora/language';
import type {Prompt} from './protocol';

/** Separates a prompt from its answer. */
export const ARROW = '=>';

/** Spoken orders, and tickets for the kitchen. */
export const SAMPLES = [
  ['Table four wants two teas and a coffee.', 'T4 | 2 TEA, 1 COF'],
  ['Could we have a salad and three beers at table one, please?', 'T1 | 1 SAL, 3 BEE'],
  ['Please bring two pizzas to table seven.', 'T7 | 2 PIZ'],
  ['The guests of table two have ordered a soup, a steak and two lemonades.', 'T2 | 1 SOU, 1 STE, 2 LEM'],
  ['For table nine: four coffees, and be quick about it!', 'T9 | 4 COF'],
  ['We would like a burger and a beer. We are at table three.', 'T3 | 1 BUR, 1 BEE'],
  ['Table five wants three omelettes and two teas.', 'T5 | 3 OME, 2 TEA'],
  ['Could we have two sandwiches at table eight, please?', 'T8 | 2 SAN'],
  ['Please bring a pancake and a tea to table six.', 'T6 | 1 PAN, 1 TEA'],
  ['The guests of table one have ordered four burgers and four beers.', 'T1 | 4 BUR, 4 BEE'],
  ['For table two: a lemonade and a salad, and be quick about it!', 'T2 | 1 LEM, 1 SAL'],
  ['We would like two soups. We are at table nine.', 'T9 | 2 SOU'],
  ['Table seven wants a steak, a pizza and three lemonades.', 'T7 | 1 STE, 1 PIZ, 3 LEM'],
  ['Could we have four pancakes and a coffee at table five, please?', 'T5 | 4 PAN, 1 COF'],
  ['Please bring three salads to table four.', 'T4 | 3 SAL'],
  ['The guests of table eight have ordered two steaks and two beers.', 'T8 | 2 STE, 2 BEE'],
]
  .map(([order, ticket]) => `${order} ${ARROW} ${ticket}`)
  .join('\n\n');

/**
 * The examples in pasted text: JSON lines of chats, of prompts and completions, or of texts. Otherwise texts that are
 * separated by empty lines, each of which may have an arrow between a prompt and its answer.
 */
export function examplesIn(pasted: string): ChatRecord[] {
  if (pasted.trimStart().startsWith('{')) {
    return parseChats(pasted);
  }
  return pasted
    .split(/\n[ \t]*\n/)
    .map(text => text.trim())
    .filter(text => text !== '')
    .map(text => {
      const at = text.indexOf(ARROW);
      const [asked, answer] = [text.slice(0, at).trim(), text.slice(at + ARROW.length).trim()];
      return at < 0 ? {text} : {prompt: `${asked} ${ARROW}`, completion: ` ${answer}`};
    });
}

/** The messages that an example begins with, if it is a chat. */
function talkIn(example: ChatRecord): readonly ChatMessage[] | undefined {
  if ('length' in example) {
    return example;
  }
  const said = 'messages' in example ? example.messages : 'prompt' in example ? example.prompt : '';
  return typeof said === 'string' ? undefined : said;
}

/**
 * The prompt in the format of the examples: a chat with their system message if they are chats or there are none, and
 * with an arrow behind it if they have answers.
 */
export function askedAs(text: string, examples: readonly ChatRecord[]): Prompt {
  const talk = examples.map(talkIn).find(messages => messages !== undefined);
  if (talk !== undefined || examples.length === 0) {
    const asked: ChatMessage = {role: 'user', content: text};
    return [...(talk?.filter(({role}) => role === 'system').slice(0, 1) ?? []), asked];
  }
  const learnsAnswers = examples.some(
    example => 'prompt' in example && typeof example.prompt === 'string' && example.prompt.endsWith(ARROW),
  );
  return learnsAnswers && !text.includes(ARROW) ? `${text} ${ARROW}` : text;
}
