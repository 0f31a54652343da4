import {mulberry32, shuffled} from '../shared/random';

/** A spoken order as the prompt, and its kitchen ticket, such as `T4 | 2 COF, 1 TEA`, as the completion. */
export interface Order {
  prompt: string;
  completion: string;
}

const DISHES: readonly (readonly [one: string, several: string, ticket: string])[] = [
  ['a coffee', 'coffees', 'COF'],
  ['a tea', 'teas', 'TEA'],
  ['a lemonade', 'lemonades', 'LEM'],
  ['a beer', 'beers', 'BEE'],
  ['a soup', 'soups', 'SOU'],
  ['a salad', 'salads', 'SAL'],
  ['a burger', 'burgers', 'BUR'],
  ['a pizza', 'pizzas', 'PIZ'],
  ['a steak', 'steaks', 'STE'],
  ['an omelette', 'omelettes', 'OME'],
  ['a sandwich', 'sandwiches', 'SAN'],
  ['a pancake', 'pancakes', 'PAN'],
];
const NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];
const SENTENCES: readonly ((dishes: string, table: string) => string)[] = [
  (dishes, table) => `Table ${table} wants ${dishes}.`,
  (dishes, table) => `Could we have ${dishes} at table ${table}, please?`,
  (dishes, table) => `We would like ${dishes}. We are at table ${table}.`,
  (dishes, table) => `Please bring ${dishes} to table ${table}.`,
  (dishes, table) => `The guests of table ${table} have ordered ${dishes}.`,
  (dishes, table) => `For table ${table}: ${dishes}, and be quick about it!`,
];
/** The format of a ticket. */
const TICKET = /^ T\d \| \d [A-Z]{3}(, \d [A-Z]{3})*$/;

/** Whether an answer has the format of a ticket. */
export function isTicket(answer: string): boolean {
  return TICKET.test(answer);
}

/** Training and held-out orders. No two have the same dishes in the same amounts. */
export function makeOrders({train, test}: {train: number; test: number}): {train: Order[]; test: Order[]} {
  const random = mulberry32(7);
  const below = (count: number) => Math.floor(random() * count);
  const orders = new Map<string, Order>();
  while (orders.size < train + test) {
    const dishes = shuffled([...DISHES], below(2 ** 30)).slice(0, 1 + below(3));
    const counts = dishes.map(() => 1 + below(4));
    const table = 1 + below(9);
    const spoken = dishes.map(([one, several], i) => (counts[i] === 1 ? one : `${NUMBERS[counts[i]!]!} ${several}`));
    const last = spoken.pop()!;
    const all = spoken.length === 0 ? last : `${spoken.join(', ')} and ${last}`;
    const ticket = dishes.map(([, , code], i) => `${counts[i]!} ${code}`).join(', ');
    const sentence = SENTENCES[below(SENTENCES.length)]!(all, NUMBERS[table]!);
    orders.set(ticket, {prompt: `Order: ${sentence}\nTicket:`, completion: ` T${table} | ${ticket}`});
  }
  const all = [...orders.values()];
  return {train: all.slice(0, train), test: all.slice(train)};
}
