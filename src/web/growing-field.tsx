// A field of several lines that grows with its text.
import { type ComponentProps, type RefObject, useLayoutEffect, useRef } from 'react';

type GrowingFieldProps = ComponentProps<'textarea'> & {
  readonly value: string;
  readonly field?: RefObject<HTMLTextAreaElement | null>;
};

export function GrowingField({ field, ...props }: GrowingFieldProps) {
  const own = useRef<HTMLTextAreaElement>(null);
  const ref = field ?? own;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const element = ref.current!;
    element.style.height = 'auto';
    element.style.height = `${element.scrollHeight}px`;
  }, [props.value, ref]);
  return <textarea ref={ref} rows={1} {...props} />;
}
