/** The element with an id, which index.html must have. */
export function byId<E extends Element = HTMLElement>(id: string): E {
  const element = document.getElementById(id);
  if (element === null) {
    throw new Error(`index.html has no element "${id}".`);
  }
  return element as Element as E;
}

/** A new element with properties and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The number in a field, clipped to the field's range. */
export function numberIn(input: HTMLInputElement): number {
  const value = Math.min(Number(input.max), Math.max(Number(input.min), input.valueAsNumber || 0));
  input.valueAsNumber = value;
  return value;
}

/** The integer in a field, clipped to the field's range. */
export function wholeNumberIn(input: HTMLInputElement): number {
  input.valueAsNumber = Math.round(input.valueAsNumber || 0);
  return numberIn(input);
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share === 1 ? 0 : 1)} %`;
}
