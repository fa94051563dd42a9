//! The DWARF that Go's compiler writes, as far as layouts need it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, DwAt, EndianSlice, LittleEndian,
    Operation, UnitOffset,
};
use object::{Architecture, Object as _, ObjectSection as _};

use super::table::Shape;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Die<'a> = DebuggingInformationEntry<Slice<'a>>;

/// `DW_AT_go_kind`: Go's `reflect.Kind` (`src/cmd/internal/dwarf/dwarf.go`).
const GO_KIND: DwAt = DwAt(0x2900);
const CHAN: u64 = 18;
const INTERFACE: u64 = 20;
const MAP: u64 = 21;
const SLICE: u64 = 23;
const STRING: u64 = 24;

/// Registers for integers in Go's calling convention, by their DWARF numbers
/// (`src/cmd/compile/abi-internal.md`; System V ABI of x86-64, figure 3.36; DWARF for the Arm 64-bit
/// architecture, table 4.1).
const X86_64: [u16; 9] = [0, 3, 2, 5, 4, 8, 9, 10, 11];
const AARCH64: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A place in `.debug_info`: the unit, and where in it.
type Place = (usize, UnitOffset);

/// The types and functions of one executable.
pub(super) struct Dwarf<'a> {
    sections: gimli::Dwarf<Slice<'a>>,
    units: Vec<gimli::Unit<Slice<'a>>>,
    types: HashMap<&'a [u8], Place>,
    functions: HashMap<&'a [u8], Place>,
    registers: &'static [u16],
}

impl<'a> Dwarf<'a> {
    /// Reads all names.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self> {
        let elf = object::File::parse(file)?;
        let dwarf = gimli::Dwarf::load(|id| {
            let section = elf.section_by_name(id.name());
            let data = section.map_or(Ok(&[][..]), |section| section.data());
            data.map(|data| EndianSlice::new(data, LittleEndian))
        })?;
        let mut units = Vec::new();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            units.push(dwarf.unit(header)?);
        }
        let registers: &[u16] = match elf.architecture() {
            Architecture::Aarch64 => &AARCH64,
            _ => &X86_64,
        };
        let (types, functions) = (HashMap::new(), HashMap::new());
        let mut parsed = Self { sections: dwarf, units, types, functions, registers };
        parsed.index()?;
        Ok(parsed)
    }

    fn index(&mut self) -> Result<()> {
        for (number, unit) in self.units.iter().enumerate() {
            let mut entries = unit.entries();
            while let Some(die) = entries.next_dfs()? {
                let place = (number, die.offset());
                match die.tag() {
                    _ if die.depth() != 1 => {}
                    // With code: neither a declaration nor what is inlined.
                    gimli::DW_TAG_subprogram if die.has_attr(gimli::DW_AT_low_pc) => {
                        if let Some(name) = self.name(place.0, die)? {
                            self.functions.insert(name, place);
                        }
                    }
                    // Leads to a type of the same name.
                    gimli::DW_TAG_typedef if !die.has_attr(GO_KIND) => {}
                    gimli::DW_TAG_structure_type
                    | gimli::DW_TAG_base_type
                    | gimli::DW_TAG_typedef => {
                        if let Some(name) = self.name(place.0, die)? {
                            self.types.insert(name, place);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The type itself.
    pub(super) fn shape_of(&self, name: &str) -> Result<Option<Shape>> {
        self.types.get(name.as_bytes()).map(|&place| self.shape(place)).transpose()
    }

    /// Offset and shape of a field, or of one in a structure that is a field (`outer.inner`); none if
    /// there is no such structure or field.
    pub(super) fn field(&self, structure: &str, field: &str) -> Result<Option<(u16, Shape)>> {
        let Some(&place) = self.types.get(structure.as_bytes()) else { return Ok(None) };
        self.field_of(place, field)
    }

    fn field_of(&self, place: Place, path: &str) -> Result<Option<(u16, Shape)>> {
        let (field, inner) = path.split_once('.').map_or((path, None), |(f, i)| (f, Some(i)));
        for (member, die) in self.children(place)? {
            if die.tag() == gimli::DW_TAG_member
                && self.name(member.0, &die)? == Some(field.as_bytes())
            {
                let offset = die.attr_value(gimli::DW_AT_data_member_location);
                let offset = offset.and_then(|value| value.udata_value()).context("no offset")?;
                let (offset, type_place) = (u16::try_from(offset)?, self.type_of(member, &die)?);
                let Some(inner) = inner else {
                    return Ok(Some((offset, self.shape(type_place)?)));
                };
                let found = self.field_of(self.underlying(type_place)?.0, inner)?;
                return Ok(found.map(|(within, shape)| (offset + within, shape)));
            }
        }
        Ok(None)
    }

    /// First register and shape of a parameter (by its name) or a result (`->` and its number);
    /// none if there is no such function or parameter.
    pub(super) fn parameter(&self, function: &str, wanted: &str) -> Result<Option<(u16, Shape)>> {
        let Some(&place) = self.functions.get(function.as_bytes()) else { return Ok(None) };
        let entry = match self.attr(place, &self.die(place)?, gimli::DW_AT_low_pc)? {
            Some(value) => self.sections.attr_address(&self.units[place.0], value)?,
            None => None,
        };
        let entry = entry.context("no address")?;
        // Parameters and results are numbered apart, and each from the first register.
        let (mut used, mut count) = ([0; 2], [0_u16; 2]);
        let mut previous = None;
        for (parameter, die) in self.children(place)? {
            if die.tag() != gimli::DW_TAG_formal_parameter {
                continue;
            }
            let result = self.attr(parameter, &die, gimli::DW_AT_variable_parameter)?;
            let is_result = matches!(result, Some(AttributeValue::Flag(true)));
            let name = self.name(parameter.0, &die)?;
            // The compiler writes a result named `_` twice, both times as `~r0`.
            if is_result && previous.replace(name) == Some(name) {
                continue;
            }
            let kind = usize::from(is_result);
            let type_place = self.type_of(parameter, &die)?;
            let register = self.assign(&mut used[kind], type_place)?;
            let is_wanted = match wanted.strip_prefix("->") {
                Some(number) => is_result && number.parse() == Ok(count[kind]),
                None => !is_result && name == Some(wanted.as_bytes()),
            };
            count[kind] += 1;
            if !is_wanted {
                continue;
            }
            let register = register.context("it is on the stack")?;
            // The compiler says where a parameter is on entry; of a result only where it is later.
            if !is_result && let Some(said) = self.register_at(parameter, &die, entry)? {
                ensure!(
                    Some(&said) == self.registers.get(usize::from(register)),
                    "DWARF has it in register {said}, the calling convention in {register}"
                );
            }
            return Ok(Some((register, self.shape(type_place)?)));
        }
        Ok(None)
    }

    /// The first register of a value, which it takes; none if it is passed in memory.
    fn assign(&self, used: &mut usize, place: Place) -> Result<Option<u16>> {
        let first = *used;
        let after = self.words(place)?.map(|words| first + words);
        let Some(after) = after.filter(|after| *after <= self.registers.len()) else {
            return Ok(None);
        };
        *used = after;
        Ok(Some(u16::try_from(first)?))
    }

    /// How many integer registers a value takes; none if it is never passed in registers.
    fn words(&self, place: Place) -> Result<Option<usize>> {
        let (place, die) = self.underlying(place)?;
        Ok(Some(match self.shape(place)? {
            Shape::String | Shape::Interface => 2,
            Shape::Slice => 3,
            Shape::Pointer | Shape::Map => 1,
            Shape::Number(_) => usize::from(!is_float(&die)),
            Shape::Struct(_) if die.tag() == gimli::DW_TAG_structure_type => {
                let mut sum = 0;
                for (member, die) in self.children(place)? {
                    match self.words(self.type_of(member, &die)?)? {
                        Some(words) => sum += words,
                        None => return Ok(None),
                    }
                }
                sum
            }
            Shape::Struct(_) => return Ok(None),
        }))
    }

    /// The register that holds a variable at an address, if one does.
    fn register_at(&self, place: Place, die: &Die<'a>, address: u64) -> Result<Option<u16>> {
        let unit = &self.units[place.0];
        let Some(value) = die.attr_value(gimli::DW_AT_location) else { return Ok(None) };
        let Some(mut locations) = self.sections.attr_locations(unit, value)? else {
            return Ok(None);
        };
        while let Some(location) = locations.next()? {
            if location.range.begin <= address && address < location.range.end {
                let first = location.data.operations(unit.encoding()).next()?;
                return Ok(match first {
                    Some(Operation::Register { register }) => Some(register.0),
                    _ => None,
                });
            }
        }
        Ok(None)
    }

    fn shape(&self, place: Place) -> Result<Shape> {
        let (_, die) = self.underlying(place)?;
        let number = |name| die.attr_value(name).and_then(|value| value.udata_value());
        let size = || -> Result<u16> {
            Ok(number(gimli::DW_AT_byte_size).context("a type without a size")?.try_into()?)
        };
        Ok(match (die.tag(), number(GO_KIND)) {
            (gimli::DW_TAG_pointer_type | gimli::DW_TAG_subroutine_type, _) | (_, Some(CHAN)) => {
                Shape::Pointer
            }
            (_, Some(INTERFACE)) => Shape::Interface,
            (_, Some(MAP)) => Shape::Map,
            (_, Some(SLICE)) => Shape::Slice,
            (_, Some(STRING)) => Shape::String,
            (gimli::DW_TAG_base_type, _) => Shape::Number(size()?),
            (gimli::DW_TAG_structure_type | gimli::DW_TAG_array_type, _) => Shape::Struct(size()?),
            (tag, _) => bail!("a type that is a {tag}"),
        })
    }

    /// Behind the names that a type has.
    fn underlying(&self, mut place: Place) -> Result<(Place, Die<'a>)> {
        loop {
            let die = self.die(place)?;
            if die.tag() != gimli::DW_TAG_typedef || die.has_attr(GO_KIND) {
                return Ok((place, die));
            }
            place = self.type_of(place, &die)?;
        }
    }

    fn type_of(&self, place: Place, die: &Die<'a>) -> Result<Place> {
        let value = self.attr(place, die, gimli::DW_AT_type)?.context("an entry without a type")?;
        self.follow(place.0, &value)
    }

    fn name(&self, unit: usize, die: &Die<'a>) -> Result<Option<&'a [u8]>> {
        let Some(value) = self.attr((unit, die.offset()), die, gimli::DW_AT_name)? else {
            return Ok(None);
        };
        Ok(Some(self.sections.attr_string(&self.units[unit], value)?.slice()))
    }

    /// An attribute of an entry, or of that of which it is a copy: Go describes a function that is
    /// also inlined, and its parameters, apart from its code.
    fn attr(
        &self,
        place: Place,
        die: &Die<'a>,
        name: DwAt,
    ) -> Result<Option<AttributeValue<Slice<'a>>>> {
        if let Some(value) = die.attr_value(name) {
            return Ok(Some(value));
        }
        let Some(origin) = die.attr_value(gimli::DW_AT_abstract_origin) else { return Ok(None) };
        let origin = self.die(self.follow(place.0, &origin)?)?;
        Ok(origin.attr_value(name))
    }

    fn follow(&self, unit: usize, reference: &AttributeValue<Slice<'a>>) -> Result<Place> {
        match *reference {
            AttributeValue::UnitRef(offset) => Ok((unit, offset)),
            AttributeValue::DebugInfoRef(offset) => self.locate(offset),
            _ => bail!("a reference of an unknown form"),
        }
    }

    fn locate(&self, offset: DebugInfoOffset) -> Result<Place> {
        let starts_after = |unit: &gimli::Unit<_>| {
            unit.header.debug_info_offset().is_some_and(|start| start.0 > offset.0)
        };
        let after = self.units.partition_point(|unit| !starts_after(unit));
        let number = after.checked_sub(1).context("a reference before all units")?;
        let inside = offset.to_unit_offset(&self.units[number].header);
        Ok((number, inside.context("a reference out of its unit")?))
    }

    fn die(&self, place: Place) -> Result<Die<'a>> {
        Ok(self.units[place.0].entry(place.1)?)
    }

    fn children(&self, place: Place) -> Result<Vec<(Place, Die<'a>)>> {
        let unit = &self.units[place.0];
        let mut tree = unit.entries_tree(Some(place.1))?;
        let mut children = tree.root()?.children();
        let mut found = Vec::new();
        while let Some(child) = children.next()? {
            let die = child.entry().clone();
            found.push(((place.0, die.offset()), die));
        }
        Ok(found)
    }
}

fn is_float(die: &Die<'_>) -> bool {
    matches!(
        die.attr_value(gimli::DW_AT_encoding),
        Some(AttributeValue::Encoding(gimli::DW_ATE_float | gimli::DW_ATE_complex_float))
    )
}
