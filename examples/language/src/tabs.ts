import {make} from '../../shared/dom';
import {enable} from '../../shared/page/controls';
import {isBusy} from '../../shared/page/work';

/** A panel of a list of tabs. */
export interface Panel {
  id: string;
  label: string;
  children: readonly HTMLElement[];
}

/** Tabs that work by mouse and by arrow keys, Home and End. Each shows its panel. */
export function tabs(titleId: string, panels: readonly Panel[], onSelect: (id: string) => void): HTMLElement[] {
  const list = make('div', {id: 'tabs', role: 'tablist'});
  list.setAttribute('aria-labelledby', titleId);
  const parts = panels.map(({id, label, children}) => {
    const tab = make('button', {id: `${id}-tab`, type: 'button', role: 'tab'}, label);
    const panel = make('div', {id: `${id}-panel`, role: 'tabpanel'}, ...children);
    tab.setAttribute('aria-controls', panel.id);
    panel.setAttribute('aria-labelledby', tab.id);
    enable(tab, () => !isBusy());
    return {id, tab, panel};
  });
  const select = (selected: string) => {
    for (const {id, tab, panel} of parts) {
      tab.ariaSelected = String(id === selected);
      tab.tabIndex = id === selected ? 0 : -1;
      panel.hidden = id !== selected;
    }
    onSelect(selected);
  };
  parts.forEach(({id, tab}, i) => {
    tab.addEventListener('click', () => select(id));
    tab.addEventListener('keydown', ({key}) => {
      const next = {ArrowRight: i + 1, ArrowLeft: i - 1 + parts.length, Home: 0, End: parts.length - 1}[key];
      if (next !== undefined) {
        const other = parts[next % parts.length]!;
        other.tab.focus();
        select(other.id);
      }
    });
  });
  list.append(...parts.map(({tab}) => tab));
  select(parts[0]!.id);
  return [list, ...parts.map(({panel}) => panel)];
}
